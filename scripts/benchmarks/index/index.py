"""Queries a second at a recall promised to text queries, against others and against an exhaustive search, in one run.

    pip install hnswlib usearch lancedb
    python -m scripts.benchmarks.index.index --pairs PAIRS [--count 200000] [--autofaiss ENVIRONMENT/bin/python]
    python -m scripts.benchmarks.index.index --vectors BUNDLE_OR_NPZ --name index_fashion

PAIRS is a folder with `image_emb.npy` and `text_emb.npy` of some hundred real pairs; items and queries are drawn from
their geometry (`geometry`). Half of the queries tune, the other half is reported. Every index is
taken at the least effort at which text queries reach recall@10 .95; "on itself" is the effort at which the indexed
vectors, asked as queries, reach it. Every family of this project is measured at every effort, to say how near its
tuner comes to the best of them for each kind of query.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import faiss
import numpy as np

from indexing.arrays import Vectors
from indexing.index import IndexConfig, Queries
from indexing.index.tuning.families import EVERY, LANCE_LISTS, goals_of, shortlist
from indexing.index.tuning.recall import GroundTruth
from indexing.index.tuning.trial import Trial, rank_trials, run_trial
from indexing.runtime.threads import cores
from scripts.benchmarks.index.catalogues import Catalogue, K, drawn_catalogue, real_catalogue
from scripts.benchmarks.index.exhaustive import swept
from scripts.benchmarks.index.peers import Built, Search, peers
from scripts.benchmarks.record import keep

TARGET, QUERIES, ROUNDS = 0.95, 2000, 3
GOALS = IndexConfig(min_recall=TARGET, k=K)
EFFORTS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 320, 400, 512, 640, 800, 1024, 1536, 2048, 4096)


def main() -> None:
    """Measure and keep."""
    given = _arguments()
    faiss.omp_set_num_threads(given.threads)
    if given.pairs:
        catalogue = drawn_catalogue(given.pairs, given.count, QUERIES, given.seed)
    else:
        catalogue = real_catalogue(given.vectors, QUERIES, given.seed)
    result: dict[str, Any] = {**catalogue.info, "target": TARGET, "threads": given.threads, "peers": {}}
    for name, build in peers(given.autofaiss).items():
        try:
            result["peers"][name] = against(build(catalogue.items, given.threads), catalogue, given.seed)
        except (ImportError, RuntimeError) as error:
            result["peers"][name] = {"could not run": str(error)[:500]}
        print(name, result["peers"][name], flush=True)
    result["families"], trials = families(catalogue, given.families)
    result["lancedb, tuned our way"] = tuned_table(catalogue)
    print(LANCE_LISTS.name, result["lancedb, tuned our way"], flush=True)
    result |= verdict(result["families"], trials, catalogue.items.shape)
    exact = faiss.IndexFlatIP(catalogue.items.shape[1])
    exact.add(catalogue.items)
    asked = catalogue.report["text"]
    result["exact queries/s"] = speed(lambda queries: exact.search(queries, K)[1], asked.queries.vectors)
    result["tuned our way and on itself"] = table(result)
    ran = [row for row in result["peers"].values() if "tuned on texts" in row]
    fastest = max((row["tuned on texts"]["text queries/s"] for row in ran), default=0)
    if fastest and (ours := result["choice of auto"].get("text")):
        result["times the best peer"] = round(ours["queries/s"] / fastest, 2)
    keep(given.name, result, given.seed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--pairs", type=Path)
    source.add_argument("--vectors", type=Path)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--autofaiss", type=Path, help="interpreter of an environment with autofaiss")
    parser.add_argument(
        "--families", nargs="+", metavar="FAMILY", help="which to sweep, as 'ivf sq8'; all if not given"
    )
    parser.add_argument("--name", default="index", help="of the file of results")
    return parser.parse_args()


def against(built: Built, catalogue: Catalogue, seed: int) -> dict[str, Any]:
    """Tune a peer on text queries and on its own vectors; measure it both ways."""
    items = catalogue.items
    chosen = np.random.default_rng(seed).choice(len(items), min(1000, len(items)), replace=False)
    own = GroundTruth.by(items, Queries(items[chosen]), K)  # each finds itself, as whoever tunes on own vectors has it
    row: dict[str, Any] = {"bytes a vector": round(built.size / len(items)), "build seconds": round(built.seconds, 1)}
    if built.note:
        row |= {"note": built.note, "as it comes": measured(built.search, catalogue)}
    for name, queries in (("texts", catalogue.tune["text"]), ("itself", own)):
        row[f"effort tuned on {name}"] = least_effort(built, queries, items)
        row[f"tuned on {name}"] = measured(built.search, catalogue)
    return row


def least_effort(built: Built, queries: GroundTruth, items: Vectors) -> int:
    """Find the least effort that reaches the target, and set it."""
    for effort in EFFORTS:
        built.set_effort(effort)
        if queries.recall(built.search(queries.queries.vectors), items) >= TARGET:
            break
    return effort


def measured(search: Search, catalogue: Catalogue) -> dict[str, float]:
    """Recall and speed for each kind of query."""
    found: dict[str, float] = {}
    for name, asked in catalogue.report.items():
        found[f"{name} recall"] = round(asked.recall(search(asked.queries.vectors), catalogue.items), 4)
        found[f"{name} queries/s"] = speed(search, asked.queries.vectors)
    return found


def speed(search: Search, queries: Vectors) -> float:
    """Queries a second in one batch, the median of three."""
    times = []
    for _ in range(ROUNDS):
        started = perf_counter()
        search(queries)
        times.append(perf_counter() - started)
    return round(len(queries) / median(times))


def families(catalogue: Catalogue, only: Sequence[str] | None) -> tuple[dict[str, Any], list[Trial]]:
    """Build, tune and sweep every family; give what may be chosen of all, and of the short list."""
    rows: dict[str, Any] = {}
    contenders: list[Trial] = []
    for family in (family for family in EVERY if only is None or family.name in only):
        trial, rows[family.name] = swept(family, catalogue, goals_of(GOALS, family))
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


def table(result: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Recall of text queries by what each index was tuned on."""
    rows = {
        name: {"on texts": row["tuned on texts"]["text recall"], "on itself": row["tuned on itself"]["text recall"]}
        | ({"as it comes": row["as it comes"]["text recall"]} if "as it comes" in row else {})
        for name, row in result["peers"].items()
        if "tuned on texts" in row
    }
    chosen = result["choice of auto"]
    return rows | (
        {f"this project ({chosen['family']})": {"on texts": chosen["text"]["recall"]}} if "text" in chosen else {}
    )


if __name__ == "__main__":
    main()
