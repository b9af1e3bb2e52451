"""Whom two stages must beat on MovieLens 100k: every baseline, sums of them, and SASRec of RecTools, tuned as they are.

Of each family of `peer_models` the setting is taken that has most ndcg@20 before: on the valid part
of a split by user or at one moment, fitted on its train; of a window on the three windows before it. Then it is fitted
on all that was before. Users without a history, of whom most peers know nothing, are answered with what was popular of
late, over as many days as was best for such users. What was fitted is kept, for it does not depend on our seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from indexing.arrays import Mask
from retrieval.evaluation import Evaluation, compare, evaluate
from retrieval.evaluation.baselines.recommender import Ranked
from retrieval.evaluation.splits.queries import EvaluationQueries
from retrieval.evaluation.splits.splits import Split
from scripts.benchmarks.recommend.baselines import Films, ask
from scripts.benchmarks.recommend.kept_lists import as_ranked
from scripts.benchmarks.recommend.peer_models import FAMILIES, Fits, Known, Setting, named, silent

SASREC = "SASRec (RecTools 0.19, liked, 64 factors, 2 blocks, softmax)"
NDCG = "ndcg@20"
COMPARED = ("recall@20", NDCG)


@dataclass(frozen=True, eq=False)
class Measured:
    """All settings on one split.

    Attributes:
        asked: The questions.
        lists: For each setting, (seeds, B, 20) rows.
        ndcg: For each setting, (B,), the mean of seeds.
    """

    asked: EvaluationQueries
    lists: dict[Setting, NDArray[np.int64]]
    ndcg: dict[Setting, NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Peers:
    """Fits and chooses.

    Attributes:
        films: Log and catalogue.
        known: What is known of the films without users.
        work: Folder that keeps what was fitted.
        families: All settings that are tried of each.
    """

    films: Films
    known: Known
    work: Path
    families: dict[str, list[Setting]] = field(default_factory=lambda: FAMILIES)
    _measured: dict[str, Measured] = field(default_factory=dict)

    def measured(self, name: str, split: Split) -> Measured:
        """Fit all settings on the past of a split, or read what they said."""
        if name not in self._measured:
            asked, path = ask(split, self.films), self.work / f"peers-{name}.npz"
            lists, ndcg = _read(path, list(dict.fromkeys(one for each in self.families.values() for one in each)))
            missing = [one for one, rows in lists.items() if not rows.size]
            fits = Fits(self.known, split.past, asked)
            for one in missing:
                ranked = fits.lists(one)
                lists[one] = np.stack([of_seed.rows for of_seed in ranked])
                ndcg[one] = np.mean([ndcg_of(asked, of_seed) for of_seed in ranked], axis=0)
            if missing:
                summary: dict[str, Any] = {named(one): rows.astype(np.int16) for one, rows in lists.items()}
                np.savez_compressed(path, **summary, **{f"{NDCG} {named(one)}": values for one, values in ndcg.items()})
                print(f"peers on {name}: {len(missing)} settings", flush=True)
            self._measured[name] = Measured(asked, lists, ndcg)
        return self._measured[name]

    def answers(self, name: str, split: Split, before: dict[str, Split]) -> tuple[dict[str, Any], dict[str, str]]:
        """Choose each family's setting on some splits before, and give its lists for a split, and what was chosen."""
        valid, here = [self.measured(one, of) for one, of in before.items()], self.measured(name, split)
        popular = best(self.families["popularity"], valid, [one.asked.new for one in valid])
        found: dict[str, Any] = {}
        chosen = {"users without a history": named(popular)}
        for family, settings in self.families.items():
            heard = [~silent(settings[0], one.asked) for one in valid]
            setting = best(settings, valid, heard)
            chosen[family] = named(setting)
            rows = here.lists[setting].copy()
            unheard = silent(setting, here.asked) | here.asked.new
            rows[:, unheard] = here.lists[popular][:, unheard]
            found[family] = [as_ranked(one) for one in rows]
        return found, chosen


def sasrec(files: Sequence[Path], window: int, asked: EvaluationQueries, otherwise: Ranked) -> dict[str, list[Ranked]]:
    """Read the lists of SASRec for one window from 1, or 0 for a split; whoever has none is served otherwise."""
    return {
        f"{SASREC}, {settings}; seeds: {len(of)}": [listed(file, window, asked, otherwise) for file in of]
        for settings, of in by_settings(files).items()
    }


def best(settings: Sequence[Setting], valid: Sequence[Measured], masks: Sequence[Mask]) -> Setting:
    """Give the setting with most ndcg@20 among some users of all splits as one, or among all where there are none."""
    if not any(mask.any() for mask in masks):
        masks = [np.ones_like(mask) for mask in masks]

    def value(setting: Setting) -> float:
        return float(np.concatenate([one.ndcg[setting][mask] for one, mask in zip(valid, masks, strict=True)]).mean())

    return max(settings, key=value)


def _read(path: Path, every: Sequence[Setting]) -> tuple[dict[Setting, Any], dict[Setting, Any]]:
    """Read lists and ndcg@20 of those settings that were kept; empty lists where they were not."""
    lists, ndcg = {one: np.empty(0, np.int64) for one in every}, dict[Setting, Any]()
    if path.exists():
        with np.load(path) as kept:
            for one in every:
                if f"{NDCG} {named(one)}" in kept:
                    lists[one], ndcg[one] = kept[named(one)].astype(np.int64), kept[f"{NDCG} {named(one)}"]
    return lists, ndcg


def ndcg_of(asked: EvaluationQueries, ranked: Ranked) -> NDArray[np.float64]:
    """Judge lists by ndcg@20, one value a user."""
    found = asked.candidates(*ranked, "baseline")
    return evaluate(found, asked.relevant, measures=[NDCG]).per_query[NDCG]


def by_settings(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Put the seeds of one model together."""
    found: dict[str, list[Path]] = {}
    for file in files:
        found.setdefault(pq.read_table(file, columns=["settings"])["settings"][0].as_py(), []).append(file)
    return found


def listed(file: Path, window: int, asked: EvaluationQueries, otherwise: Ranked) -> Ranked:
    """Read lists by user; who has none is served otherwise."""
    table = pq.read_table(file, columns=["user_id", "item_id", "rank", "window"], filters=[("window", "=", window)])
    lines = {str(user): line for line, user in enumerate(asked.user_ids)}
    rows, scores = otherwise.rows.copy(), otherwise.scores.copy()
    of_given = [lines[user] for user in {*table["user_id"].to_pylist()} if user in lines]
    rows[of_given], scores[of_given] = -1, -np.inf
    for user, item, rank in zip(*(table[name].to_pylist() for name in ("user_id", "item_id", "rank")), strict=True):
        if user in lines:
            rows[lines[user], rank - 1], scores[lines[user], rank - 1] = asked.items.rows([item])[0], -rank
    return Ranked(rows, scores)


def against(peers: dict[str, Evaluation], found: Evaluation) -> dict[str, Any]:
    """Compare with the best peer by each measure, query by query."""
    summary: dict[str, Any] = {}
    for measure in COMPARED:
        name = max(peers, key=lambda peer: peers[peer].means[measure])
        row = compare(peers[name], found, measures=[measure], resamples=2000).rows[0]
        summary[f"{measure} above the best peer"] = [round(one, 4) for one in (row.difference, row.low, row.high)]
        summary[f"{measure} as a multiple of the best peer"] = round(row.mean_b / row.mean_a, 4)
        summary[f"best peer by {measure}"] = name
    return summary
