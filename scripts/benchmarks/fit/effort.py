"""What each effort of `fit` costs, and how well it then recommends.

python -m scripts.benchmarks.fit.effort [--worlds ratings music] [--efforts default fast] [--seeds 0 1]
    [--users 400]

Two simulated logs: ratings over 1,500 items as in `fit_cost`, of which the last fifth of each user is held out, and
plays of 700 artists as in `music`, of which a fifth is held out at random. Each fit runs in a process of its own,
with one thread.
Seeds are worlds of their own, none of which was used to choose a default. Users of all seeds are evaluated together;
intervals are over users. The first effort is what the others are compared with.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from retrieval import FitConfig, Interactions, Retriever, evaluate, fit
from retrieval.evaluation.splits.splits import by_user
from retrieval.evaluation.statistics import bootstrap_intervals
from retrieval.training.settings import settings_of
from scripts.benchmarks.fit import fit_cost
from scripts.benchmarks.recommend.film_bundle import seeded
from scripts.benchmarks.recommend.music import World
from scripts.benchmarks.record import keep

K, HELD_OUT = 20, 0.2
MEASURES = (f"ndcg@{K}", f"recall@{K}")
ITEMS, ARTISTS = 1_500, 700
BUNDLE, LOG, RELEVANT = "bundle", "log.parquet", "relevant.json"
EFFORTS = ("default", "fast")
Values = dict[str, NDArray[np.float64]]


def main() -> None:
    """Fit each world with each effort, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", choices=list(WORLDS), default=list(WORLDS))
    parser.add_argument("--efforts", nargs="+", choices=EFFORTS, default=list(EFFORTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--users", type=int, default=400)
    parser.add_argument("--name", default="effort", help="Of the file in results/.")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        folder, effort, seed = given.one
        config = seeded(settings_of(FitConfig, {"effort": effort}), int(seed))
        print(json.dumps(measured(Path(folder), config)))
        return
    result: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for world in given.worlds:
            folders = [Path(folder, f"{world} {seed}") for seed in given.seeds]
            for path, seed in zip(folders, given.seeds, strict=True):
                path.mkdir()
                WORLDS[world](path, given.users, seed + 100)
            default: list[dict[str, Any]] = []
            for effort in given.efforts:
                runs = [alone(path, effort, seed) for path, seed in zip(folders, given.seeds, strict=True)]
                default = default or runs
                result.setdefault(world, {})[effort] = summary(runs, default)
                keep(given.name, result, seed=given.seeds[0])


def ratings(folder: Path, users: int, seed: int) -> None:
    """Put a bundle, a log of ratings and what should be found into a folder."""
    fit_cost.simulated(folder, users, ITEMS, seed)
    (folder / fit_cost.BUNDLE).rename(folder / BUNDLE)
    split = by_user(Interactions.open(folder / fit_cost.LOG), HELD_OUT)
    pq.write_table(split.past.table, folder / LOG)
    relevant: dict[str, list[str]] = {}
    for row in split.future.table.to_pylist():
        relevant.setdefault(row["user_id"], []).append(row["item_id"])
    (folder / RELEVANT).write_text(json.dumps(relevant))


def plays(folder: Path, users: int, seed: int) -> None:
    """Put a bundle, a log of plays and what should be found into a folder."""
    world = World.drawn(users, ARTISTS, seed)
    pq.write_table(world.items(), folder / "items.parquet")
    build_bundle(Catalogue.from_parquet(folder / "items.parquet"), load_encoder("vectors:separate"), folder / BUNDLE)
    past, user_ids, relevant = world.cut(seed)
    pq.write_table(past.table, folder / LOG)
    lists = {user_id: sorted(items) for user_id, items in zip(user_ids, relevant, strict=True)}
    (folder / RELEVANT).write_text(json.dumps(lists))


WORLDS: dict[str, Callable[[Path, int, int], None]] = {"ratings": ratings, "music": plays}


def alone(folder: Path, effort: str, seed: int) -> dict[str, Any]:
    """Fit in a process of its own, with one thread."""
    command = [sys.executable, "-m", "scripts.benchmarks.fit.effort", "--one", str(folder), effort, str(seed)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def measured(folder: Path, config: FitConfig) -> dict[str, Any]:
    """Fit a copy of the bundle, and recommend to all users of the log."""
    relevant: dict[str, list[str]] = json.loads((folder / RELEVANT).read_text())
    log = Interactions.open(folder / LOG)
    with tempfile.TemporaryDirectory() as copy:
        root = Path(copy, BUNDLE)
        shutil.copytree(folder / BUNDLE, root)
        started, used = perf_counter(), process_time()
        report = fit(root, log, config)
        row: dict[str, Any] = {"s": perf_counter() - started, "processor s": process_time() - used}
        found = Retriever.load(root).recommend(log, K, user_ids=list(relevant))
    values = evaluate(found, [set(items) for items in relevant.values()], measures=MEASURES).per_query
    row |= {"published": report.published, "ndcg@10 of fit": report.ndcg, "notes": report.notes}
    return row | {"values": {measure: values[measure].tolist() for measure in MEASURES}}


def summary(runs: list[dict[str, Any]], default: list[dict[str, Any]]) -> dict[str, Any]:
    """Give times, the mean of each measure, and its difference to the default effort with a 95 % interval."""
    row: dict[str, Any] = {
        "processor s": round(float(np.mean([run["processor s"] for run in runs])), 1),
        "s": round(float(np.mean([run["s"] for run in runs])), 1),
        "time, times default": round(
            sum(run["processor s"] for run in runs) / sum(run["processor s"] for run in default), 2
        ),
        "published": [run["published"] for run in runs],
        "ndcg@10 of fit": round(float(np.mean([run["ndcg@10 of fit"].get("reranker", 0.0) for run in runs])), 4),
    }
    for measure in MEASURES:
        mine, theirs = (np.concatenate([run["values"][measure] for run in some]) for some in (runs, default))
        row[measure] = round(float(mine.mean()), 4)
        interval = bootstrap_intervals((mine - theirs)[:, None])[0].tolist()
        row[f"{measure}, less default"] = [round(float(one), 4) for one in ((mine - theirs).mean(), *interval)]
    return row


if __name__ == "__main__":
    main()
