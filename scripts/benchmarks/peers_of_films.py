"""Whom two stages must beat on MovieLens 100k: every baseline, a sum of them, and SASRec of RecTools.

python -m scripts.benchmarks.peers_of_films DATA --sasrec FOLDER [--split split_user|rolling]

DATA as for scripts.benchmarks.baselines, FOLDER what scripts/benchmarks/sasrec_alone.py has written. two_stage.py
compares with them, by each measure with the best; here they are measured by themselves. Without --split all is kept.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from indexing.item_ids import ItemIds
from indexing.types import Rows
from retrieval.baselines import EASE, ForNewUsers, ImplicitALS, Popularity, Ranked, Recommender
from retrieval.evaluation import Evaluation, compare
from retrieval.evaluation.questions import Questions
from retrieval.evaluation.splits import Split, rolling_windows
from retrieval.interactions import Interactions
from scripts.benchmarks.baselines import WINDOW_DAYS, WINDOWS, Films, Judged, ask, chosen, show, told
from scripts.benchmarks.record import keep
from scripts.benchmarks.systems import DECAY_DAYS, LIKED, SEED, SEEDS, Answer, K, systems

SASREC = "SASRec (RecTools 0.19, liked, 64 factors, 2 blocks, softmax)"
LATEST_DAYS = 10.0  # looked at on the windows, so flattering
COMPARED = ("recall@20", "ndcg@20")


def main() -> None:
    """Measure all peers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sasrec", type=Path)
    parser.add_argument("--split", choices=["split_user", "rolling"])
    given = parser.parse_args()
    films = Films(given.data)
    log = films.part("split_user", "train", "valid", "test")
    windows = list(enumerate(rolling_windows(log, WINDOWS, WINDOW_DAYS * 86_400), start=1))
    parts = {"split_user": [(0, films.cut("split_user"))], "rolling": windows}
    result = {name: table(films, cuts, given.sasrec) for name, cuts in parts.items() if given.split in (None, name)}
    for name, measured in result.items():
        show(name, measured)
    if given.split is None:
        keep("peers_of_films", result, seed=SEED, script="peers_of_films")


def table(films: Films, cuts: Sequence[tuple[int, Split]], sasrec: Path | None) -> dict[str, Any]:
    """Judge all windows as one: all users, and in windows those with a history and new ones too."""
    asked = [ask(split, films) for _, split in cuts]
    fitted = [peers(films, split, sasrec, window=window) for window, split in cuts]
    new = np.concatenate([one.new for one in asked])
    users = np.array([user for one in asked for user in one.user_ids])
    masks = {"all": np.ones_like(new)} | ({"with a history": ~new, "new": new} if new.any() else {})
    rows: dict[str, Any] = {}
    for name in fitted[0]:
        found = Judged([(one, answers[name]) for one, answers in zip(asked, fitted, strict=True)])
        rows[name] = {who: told(found.among(mask), users[mask].tolist()) for who, mask in masks.items()}
    return rows


def peers(films: Films, split: Split, sasrec: Path | None, *, window: int = 0) -> dict[str, Answer]:
    """Fit all on a past; who has no history, or has liked nothing where only that is asked by, gets what was popular.

    Args:
        films: Log and catalogue.
        split: The past, and what should be found.
        sasrec: A folder that sasrec_alone.py has written to; None goes without.
        window: Which of the rolling windows, from 1; 0 when each user is cut by itself.
    """
    lately = Popularity.fit(split.past, films.items, decay_days=DECAY_DAYS)
    wrap = partial(ForNewUsers, otherwise=lately)
    found = systems(split.past, films.items, films.texts, wrap)
    if not window:
        found |= chosen(films, split.past)
    latest = wrap(Popularity.fit(split.past, films.items, decay_days=LATEST_DAYS))
    found[f"popularity, decayed over {LATEST_DAYS:g} days"] = lambda asked: [latest.recommend(asked.histories, K)]
    summed = wrap(Summed.fit(split.past, films.items))
    found["sum of z-scores of EASE (all, lambda 200, half-life 20) and two iALS"] = lambda asked: [
        summed.recommend(asked.histories, K)
    ]
    if sasrec is not None:
        name = "rolling" if window else "split_user"
        for told, files in by_settings(sorted(sasrec.glob(f"{name}-*.parquet"))).items():
            found[f"{SASREC}, {told}; seeds: {len(files)}"] = partial(lists_of, files, window, lately)
    return found


def by_settings(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Put the seeds of one model together."""
    found: dict[str, list[Path]] = {}
    for file in files:
        found.setdefault(pq.read_table(file, columns=["settings"])["settings"][0].as_py(), []).append(file)
    return found


def lists_of(files: Sequence[Path], window: int, otherwise: Recommender, asked: Questions) -> list[Ranked]:
    """Read the lists of all seeds."""
    return [listed(file, window, asked, otherwise=otherwise) for file in files]


def listed(file: Path, window: int, asked: Questions, *, otherwise: Recommender) -> Ranked:
    """Read lists by user; who has none is served otherwise."""
    table = pq.read_table(file, columns=["user_id", "item_id", "rank", "window"], filters=[("window", "=", window)])
    lines = {str(user): line for line, user in enumerate(asked.user_ids)}
    rows, scores = otherwise.recommend(asked.histories, K)
    given = {user for user in table["user_id"].to_pylist() if user in lines}
    of_given = [lines[user] for user in given]
    rows[of_given], scores[of_given] = -1, -np.inf
    for user, item, rank in zip(*(table[name].to_pylist() for name in ("user_id", "item_id", "rank")), strict=True):
        if user in lines:
            rows[lines[user], rank - 1], scores[lines[user], rank - 1] = asked.items.rows([item])[0], -rank
    return Ranked(rows, scores)


@dataclass(frozen=True, eq=False)
class Summed:
    """The sum of the z-scores that several recommenders give each item; nothing is learned."""

    models: Sequence[Recommender]
    items: int

    @classmethod
    def fit(cls, past: Interactions, items: ItemIds) -> "Summed":
        """Fit EASE with recent items counting more, iALS on everything, and iALS on what was liked."""
        kept = [weight >= LIKED for weight in past.table["weight"].to_pylist()]
        liked = Interactions(past.table.filter(kept))
        ease = EASE.fit(past, items, regularisation=200.0, half_life=20.0)
        factors = (ImplicitALS.fit(log, items, seed=SEEDS[0]) for log in (past, liked))
        return cls((ease, *factors), len(items))

    def recommend(self, histories: Sequence[Rows], k: int, *, exclude: Sequence[Rows] | None = None) -> Ranked:
        """Rank by the sum; see `Recommender`."""
        total = np.zeros((len(histories), self.items))
        for model in self.models:
            rows, scores = model.recommend(histories, self.items, exclude=exclude)
            there = rows >= 0
            count = np.maximum(there.sum(axis=1, keepdims=True), 1)
            values = np.where(there, scores, 0.0).astype(np.float64)
            mean = values.sum(axis=1, keepdims=True) / count
            deviation = np.sqrt(np.where(there, (values - mean) ** 2, 0.0).sum(axis=1, keepdims=True) / count)
            line, place = np.nonzero(there)
            shares = (values - mean) / np.maximum(deviation, 1e-9)
            total[line, rows[line, place]] += shares[line, place]
        for scored, out in zip(total, histories if exclude is None else exclude, strict=True):
            scored[out] = -np.inf
        order = np.argsort(-total, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(total, order, axis=1)
        return Ranked(np.where(np.isneginf(best), -1, order), best.astype(np.float32))


def against(peers: dict[str, Evaluation], found: Evaluation) -> dict[str, Any]:
    """Compare with the best peer by each measure, query by query."""
    told: dict[str, Any] = {}
    for measure in COMPARED:
        name = max(peers, key=lambda peer: peers[peer].means[measure])
        row = compare(peers[name], found, measures=[measure], resamples=2000).rows[0]
        told[f"{measure} above the best peer"] = [round(one, 4) for one in (row.difference, row.low, row.high)]
        told[f"best peer by {measure}"] = name
    return told


if __name__ == "__main__":
    main()
