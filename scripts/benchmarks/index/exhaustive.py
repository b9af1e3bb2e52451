"""Every effort of a family of index, measured: how near does the tuner come to the best of them?"""

from statistics import median
from typing import Any

from indexing.index.base import TunableIndex
from indexing.index.config import IndexConfig, SearchParams, SearchParamsByKind
from indexing.index.tuning.efforts import ladders
from indexing.index.tuning.families import Family
from indexing.index.tuning.recall import GroundTruth
from indexing.index.tuning.trial import Trial, run_trial
from scripts.benchmarks.index.catalogues import Catalogue

ROUNDS = 3


def swept(family: Family, catalogue: Catalogue, config: IndexConfig) -> tuple[Trial, dict[str, Any]]:
    """Build and tune a family, then try all its efforts; both are timed on the queries to report on.

    On one ladder of efforts all above the first that reaches the target are slower, and are not timed.
    """
    trial = run_trial(family, catalogue.items, config, catalogue.tune)
    row: dict[str, Any] = {
        "bytes a vector": round(trial.index.nbytes / len(catalogue.items)),
        "build seconds": trial.build_seconds,
    }
    for kind, tune in catalogue.tune.items():
        reaching = _reaching(family, trial.index, tune, catalogue, config.min_recall)
        row[kind] = {"chosen effort": trial.index.efforts.of(kind).to_json(), "reaches": bool(reaching)}
        if reaching:
            own = trial.index.efforts.of(kind)
            timed = {effort: _measure_effort(trial.index, effort, catalogue, kind) for effort in {*reaching, own}}
            best = max(reaching, key=lambda effort: timed[effort]["queries/s"])
            row[kind] |= {
                "ms a query by itself": trial.latency_ms[kind],
                "chosen": timed[own],
                "best effort": best.to_json(),
                "best": timed[best],
            }
    return trial, row


def _reaching(
    family: Family, index: TunableIndex, tune: GroundTruth, catalogue: Catalogue, target: float
) -> list[SearchParams]:
    found = []
    for ladder in ladders(family, index):
        for effort in ladder:
            if tune.measure(index.with_efforts(SearchParamsByKind(default=effort)), catalogue.items)[0] >= target:
                found.append(effort)
                break
        else:
            break  # with fewer candidates nothing reaches it either
    return found


def _measure_effort(index: TunableIndex, effort: SearchParams, catalogue: Catalogue, kind: str) -> dict[str, float]:
    at = index.with_efforts(SearchParamsByKind(default=effort))
    rounds = [catalogue.report[kind].measure(at, catalogue.items) for _ in range(ROUNDS)]
    return {"recall": round(rounds[0][0], 4), "queries/s": round(median(speed for _, speed in rounds))}
