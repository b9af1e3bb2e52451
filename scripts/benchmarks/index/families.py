"""Every family of index at every effort, to say how near the tuner comes to the best of them for each kind of query.

    python -m scripts.benchmarks.index.families --pairs PAIRS [--count 200000]
    python -m scripts.benchmarks.index.families --vectors BUNDLE_OR_NPZ --name families_fashion

PAIRS is a folder with `image_emb.npy` and `text_emb.npy` of some hundred real pairs; items and queries are drawn from
their geometry (`geometry`). Half of the queries tune to recall@10 .95, the other half is reported. Beside it stands
what text queries find at the effort at which the indexed vectors, asked as queries, reach .95, as indexes are often
tuned. Other libraries are in `tuned_peers`.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss

from indexing.index import IndexConfig
from indexing.index.tuning.families import EVERY, LANCE_LISTS, goals_of, shortlist
from indexing.index.tuning.trial import Trial, rank_trials, run_trial
from indexing.runtime.threads import cores
from scripts.benchmarks.index.catalogues import Catalogue, K, drawn_catalogue, real_catalogue
from scripts.benchmarks.index.exhaustive import own_queries, swept
from scripts.benchmarks.record import keep

TARGET, QUERIES = 0.95, 2000
GOALS = IndexConfig(min_recall=TARGET, k=K)


def main() -> None:
    """Measure and keep."""
    given = _arguments()
    faiss.omp_set_num_threads(given.threads)
    if given.pairs:
        catalogue = drawn_catalogue(given.pairs, given.count, QUERIES, given.seed)
    else:
        catalogue = real_catalogue(given.vectors, QUERIES, given.seed)
    result: dict[str, Any] = {**catalogue.info, "target": TARGET, "threads": given.threads}
    result["families"], trials = families(catalogue, given.families)
    result["lancedb"] = tuned_table(catalogue)
    print(LANCE_LISTS.name, result["lancedb"], flush=True)
    keep(given.name, result | verdict(result["families"], trials, catalogue.items.shape), given.seed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--pairs", type=Path)
    source.add_argument("--vectors", type=Path)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument(
        "--families", nargs="+", metavar="FAMILY", help="which to sweep, as 'ivf sq8'; all if not given"
    )
    parser.add_argument("--name", default="families", help="of the file of results")
    return parser.parse_args()


def families(catalogue: Catalogue, only: Sequence[str] | None) -> tuple[dict[str, Any], list[Trial]]:
    """Build, tune and sweep every family; give what may be chosen of all, and of the short list."""
    rows: dict[str, Any] = {}
    contenders: list[Trial] = []
    own = own_queries(catalogue)
    for family in (family for family in EVERY if only is None or family.name in only):
        trial, rows[family.name] = swept(family, catalogue, goals_of(GOALS, family), own)
        contenders = rank_trials([*contenders, trial])
        rows[family.name]["meets the goal"] = not trial.unmet
        print(family.name, rows[family.name], flush=True)
    return rows, contenders


def tuned_table(catalogue: Catalogue) -> dict[str, Any]:
    """Build and tune the table of LanceDB of this project; no effort but the chosen ones is timed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "index.bin")
        config = IndexConfig(min_recall=TARGET, k=K, kind="lancedb")
        try:
            trial = run_trial(LANCE_LISTS, catalogue.items, config, catalogue.tune, path)
        except ImportError as error:
            return {"could not run": str(error)}
        on_disk = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        row: dict[str, Any] = {
            "bytes a vector": round(trial.index.nbytes / len(catalogue.items)),
            "bytes a vector on disk": round(on_disk / len(catalogue.items)),
            "build seconds": trial.build_seconds,
        }
        for kind, asked in catalogue.report.items():
            found, per_second = asked.measure(trial.index, catalogue.items, kind)
            row[kind] = {
                "chosen effort": trial.index.efforts.of(kind).to_json(),
                "recall": round(found, 4),
                "queries/s": round(per_second),
                "ms a query by itself": trial.latency_ms[kind],
            }
        return row


def verdict(rows: dict[str, Any], contenders: list[Trial], shape: tuple[int, ...]) -> dict[str, Any]:
    """Compare what ``auto`` and ``best`` choose with the best configuration of all, for each kind of query."""
    names = [family.name for family in shortlist(GOALS, *shape) if family.name in rows]
    auto = next((name for name in names if rows[name]["meets the goal"]), names[0])
    found: dict[str, Any] = {}
    for way, family in (("auto", auto), ("best", contenders[0].family.name)):
        found[f"choice of {way}"] = {"family": family}
        for kind in [kind for kind in ("text", "image") if "chosen" in rows[family].get(kind, ())]:
            best = max(
                (name for name in rows if "best" in rows[name].get(kind, ())),
                key=lambda name: float(rows[name][kind]["best"]["queries/s"]),
            )
            fastest, own = rows[best][kind]["best"], rows[family][kind]["chosen"]
            found[f"choice of {way}"][kind] = own | {
                "of the best effort of this family": _share(own, rows[family][kind]["best"]),
                "of the best of all": _share(own, fastest),
                "the best of all": f"{best} at {rows[best][kind]['best effort']}: {fastest['queries/s']} queries/s",
            }
    return found


def _share(own: dict[str, float], best: dict[str, float]) -> float:
    return round(own["queries/s"] / best["queries/s"], 3)


if __name__ == "__main__":
    main()
