"""Every effort of a family of index, measured: how near does the tuner come to the best of them?"""

from statistics import median
from typing import Any

import numpy as np

from indexing.index.base import TunableIndex
from indexing.index.config import IndexConfig, SearchParams, SearchParamsByKind
from indexing.index.tuning.efforts import ladders
from indexing.index.tuning.families import Family
from indexing.index.tuning.recall import GroundTruth, Queries
from indexing.index.tuning.trial import Trial, run_trial
from scripts.benchmarks.index.catalogues import Catalogue, K

ROUNDS, OWN_QUERIES = 3, 1000


def swept(family: Family, catalogue: Catalogue, config: IndexConfig, own: GroundTruth) -> tuple[Trial, dict[str, Any]]:
    """Build and tune a family, then try all its efforts; both are timed on the queries to report on.

    On one ladder of efforts all above the first that reaches the target are slower, and are not timed. Where some
    queries are texts, it is also measured what these find at the effort that is enough for queries from the index.
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
            chosen = trial.index.efforts.of(kind)
            timed = {effort: _measure_effort(trial.index, effort, catalogue, kind) for effort in {*reaching, chosen}}
            best = max(reaching, key=lambda effort: timed[effort]["queries/s"])
            row[kind] |= {
                "ms a query by itself": trial.latency_ms[kind],
                "chosen": timed[chosen],
                "best effort": best.to_json(),
                "best": timed[best],
            }
    if "text" in catalogue.report and (reaching := _reaching(family, trial.index, own, catalogue, config.min_recall)):
        found = _measure_effort(trial.index, reaching[0], catalogue, "text")
        row["tuned on its own vectors"] = {"effort": reaching[0].to_json(), "text recall": found["recall"]}
    return trial, row


def own_queries(catalogue: Catalogue) -> GroundTruth:
    """Give some of the items as queries, each of which finds itself, as whoever tunes on own vectors has it."""
    items = catalogue.items
    chosen = np.random.default_rng(0).choice(len(items), min(OWN_QUERIES, len(items)), replace=False)
    return GroundTruth.by(items, Queries(items[chosen]), K)


def _reaching(
    family: Family, index: TunableIndex, tune: GroundTruth, catalogue: Catalogue, target: float
) -> list[SearchParams]:
    """Give the least effort of each ladder that reaches a recall."""
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
