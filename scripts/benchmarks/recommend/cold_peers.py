"""Peers for films that nobody has seen: what they would be like is predicted from what is known of them.

    centred texts     the mean of what was liked, by text vectors
    ridge             a ridge regression from what is known of a film to its column of EASE or its factors of iALS, and
                      the sum of z-scores of both
    LambdaRank        LightGBM on these predictions, on cosines with the history and on what is known of a film

Films that users have met are hidden a sixth at a time (seed 0). What the regressions read, how strong they are, and
how LightGBM learns is chosen by ndcg@20 on these; LightGBM learns from them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Vectors
from retrieval.evaluation import evaluate
from retrieval.evaluation.baselines import EASE, ALSConfig, ImplicitALS
from retrieval.evaluation.baselines.recommender import Ranked
from retrieval.evaluation.splits.queries import EvaluationQueries
from retrieval.evaluation.splits.splits import Split, cold_items
from retrieval.interactions.interactions import Interactions
from scripts.benchmarks.recommend.baselines import Films, ask
from scripts.benchmarks.recommend.kept_lists import as_ranked
from scripts.benchmarks.recommend.peer_models import Known, matrix, z_scores
from scripts.benchmarks.recommend.systems import LIKED, SEEDS, K, worth

PARTS = 6
FEATURES = ("texts", "texts, genres, years", "all")
STRENGTHS = (1.0, 5.0, 20.0)
_GRID = [(features, strength) for features in FEATURES for strength in STRENGTHS]
LEAVES, ROUNDS = (7, 15), (100, 300)
_LIFE = 20.0
_SHORT = 1e-9
Scores = NDArray[np.float32]


def parted(past: Interactions, parts: int = PARTS, draw: int = 0) -> list[set[str]]:
    """Part the films that users touched; others for another draw."""
    touched = sorted(set(past.table["item_id"].to_pylist()))
    drawn = np.random.default_rng(draw).permutation(len(touched))
    return [{touched[place] for place in drawn[part::parts]} for part in range(parts)]


@dataclass(eq=False)
class Hidden:
    """What peers say of some hidden films, (B, H) each, for the users who liked one.

    Attributes:
        known: What is known of all films.
        past: What users did with the others.
        asked: The users.
        hidden: (N,) bool, which films are hidden.
        seed: Of iALS.
    """

    known: Known
    past: Interactions
    asked: EvaluationQueries
    hidden: Mask
    seed: int = 0
    rated: Vectors = field(init=False)

    def __post_init__(self) -> None:
        users = sorted({*self.past.table["user_id"].to_pylist(), *self.asked.user_ids})
        line = {user: number for number, user in enumerate(users)}
        self._lines = np.array([line[user] for user in self.asked.user_ids])
        self.rated = matrix(self.past, self.known.items, users)
        self.counts = (self.rated > 0).sum(axis=0)
        self._says: dict[tuple[str, float, str], NDArray[np.float64]] = {}
        self._targets = self._learned()

    def _learned(self) -> dict[str, tuple[Vectors, Vectors]]:
        """Give what users ask with, and what each film answers with: B x D and N x D."""
        worths = worth(self.past)
        ease = EASE.fit(worths, self.known.items, regularisation=200.0, weighted=True).weights.astype(np.float32)
        als = ImplicitALS.fit(self.past, self.known.items, ALSConfig(), seed=self.seed).model
        users = als.recalculate_user(np.arange(len(self._lines)), _sparse(self.rated[self._lines] > 0))
        return {"EASE": (self.recent, np.ascontiguousarray(ease.T)), "iALS": (users, als.item_factors)}

    @property
    def recent(self) -> Vectors:
        """What each user's history is worth, half for each twenty items back, (B, N)."""
        found = np.zeros((len(self.asked), len(self.known.items)), np.float32)
        values = {1: 0.2, 2: 0.4, 3: 0.7, 4: 1.0, 5: 1.2}
        for line, (rows, weights) in enumerate(zip(self.asked.histories, self.asked.weights, strict=True)):
            aged = 0.5 ** (np.arange(len(rows))[::-1] / _LIFE)
            found[line, rows] = aged * np.array([values[int(one)] for one in weights])
        return found

    def read(self, features: str) -> NDArray[np.float64]:
        """Give what a regression reads of each film, (N, F), one at the end."""
        genres = self.known.genres / np.sqrt(np.maximum(self.known.genres.sum(axis=1, keepdims=True), 1))
        parts = [self.known.centred["text_vector"]]
        parts += [] if features == "texts" else [genres, self.known.bumps]
        parts += [0.5 * self.known.centred["image_vector"]] if features == "all" else []
        return np.concatenate([*parts, np.ones((len(genres), 1), np.float32)], axis=1).astype(np.float64)

    def says(self, features: str, strength: float, weighs: str = "log") -> NDArray[np.float64]:
        """Give what each film says for each hidden one in a ridge regression, (H, N).

        Films weigh as many users had them: by the logarithm, by the number, or once.
        """
        if (key := (features, strength, weighs)) not in self._says:
            counts, read = self.counts.astype(np.float64), self.read(features)
            weights = {"log": np.log1p(counts), "many": counts, "once": np.minimum(counts, 1.0)}[weighs]
            weighted = read.T * weights
            solved = np.linalg.solve(weighted @ read + strength * np.eye(read.shape[1]), read[self.hidden].T)
            self._says[key] = solved.T @ weighted
        return self._says[key]

    def ridge(self, target: str, features: str, strength: float) -> Scores:
        """Score the hidden films by what is predicted of them."""
        users, films = self._targets[target]
        return np.asarray(users @ (self.says(features, strength).astype(np.float32) @ films).T, np.float32)

    def facts(self) -> dict[str, Scores]:
        """Give what LightGBM reads of each user and hidden film."""
        shape, found = (len(self.asked), int(self.hidden.sum())), dict[str, Scores]()
        means = self.rated.sum(axis=0) / np.maximum(self.counts, 1) - 3.5
        for features in FEATURES[1:]:
            for target in self._targets:
                found[f"{target}, {features}"] = self.ridge(target, features, 5.0)
            many = self.says(features, 5.0, "once") @ np.log1p(self.counts)
            well = self.says(features, 20.0, "many") @ means
            found[f"popularity, {features}"], found[f"rating, {features}"] = (
                np.broadcast_to(one, shape) for one in (many, well)
            )
        mine, recent = self.rated[self._lines], self.recent
        tastes = {"all": recent, "up": np.clip(mine - 3, 0, None), "down": np.clip(3.5 - mine, 0, None) * (mine > 0)}
        sides = self.known.centred | {"genres": self.known.genres, "years": self.known.bumps}
        for name, taste in tastes.items():
            total = taste.sum(axis=1, keepdims=True) + (1.0 if name != "all" else _SHORT)
            for side, lines in sides.items():
                found[f"{name}, {side}"] = (taste @ lines) @ lines[self.hidden].T / total
        usual = recent @ self.known.years / np.maximum(recent.sum(axis=1), _SHORT)
        found["year"] = np.broadcast_to(self.known.years[self.hidden], shape)
        found["years apart"] = np.abs(found["year"] - usual[:, None])
        found["history"] = np.broadcast_to(np.log1p((mine > 0).sum(axis=1))[:, None], shape)
        return found

    def ranked(self, scores: Scores) -> Ranked:
        """Order the hidden films."""
        order = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        return Ranked(np.flatnonzero(self.hidden)[order], np.take_along_axis(scores, order, axis=1).astype(np.float32))

    def ndcg(self, scores: Scores) -> NDArray[np.float64]:
        """Judge an order."""
        found = self.asked.candidates(*self.ranked(scores), "baseline")
        return evaluate(found, self.asked.relevant, measures=["ndcg@20"]).per_query["ndcg@20"]

    @property
    def gains(self) -> NDArray[np.int64]:
        """1 for a hidden film that was liked, (B, H)."""
        names = [item for item, out in zip(self.known.items, self.hidden, strict=True) if out]
        return np.array([[item in wanted for item in names] for wanted in self.asked.relevant], np.int64)


def cold_answers(
    films: Films, known: Known, split: Split, cold: set[str], kept: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """Rank the cold films by every peer, and say what was chosen on hidden ones; read both where a file has them."""
    if not kept.exists():
        found, chosen = _answers(films, known, split, cold)
        rows = {name: [ranked.rows.tolist() for ranked in of] for name, of in found.items()}
        kept.write_text(json.dumps({"rows": rows, "chosen": chosen}))
    stored = json.loads(kept.read_text())
    rows = {name: [as_ranked(np.array(one, np.int64)) for one in of] for name, of in stored["rows"].items()}
    return rows, stored["chosen"]


def _answers(films: Films, known: Known, split: Split, cold: set[str]) -> tuple[dict[str, Any], dict[str, str]]:
    parts = [_hidden(films, known, cold_items(split.past, out), out) for out in parted(split.past)]
    tests = [_hidden(films, known, split, cold, seed) for seed in SEEDS]
    found: dict[str, Any] = {"mean of text vectors (liked), centred": [tests[0].ranked(_texts(tests[0]))]}
    chosen, settings = dict[str, str](), dict[str, tuple[str, float]]()
    for target in ("EASE", "iALS"):
        name = f"ridge regression to {target}"
        values = [
            float(np.concatenate([part.ndcg(part.ridge(target, *one)) for part in parts]).mean()) for one in _GRID
        ]
        settings[target] = _GRID[int(np.argmax(values))]
        chosen[name] = "{}, {:g}".format(*settings[target])
        found[name] = [test.ranked(test.ridge(target, *settings[target])) for test in tests]
    found["sum of both"] = [test.ranked(_summed(test, settings)) for test in tests]
    found["LambdaRank"], chosen["LambdaRank"] = _by_trees(parts, tests)
    return found, chosen


def _hidden(films: Films, known: Known, split: Split, out: set[str], seed: int = 0) -> Hidden:
    mask = np.isin(np.arange(len(films.items)), films.items.rows(sorted(out)))
    return Hidden(known, split.past, ask(split, films), mask, seed)


def _texts(test: Hidden) -> Scores:
    lines, liked = test.known.centred["text_vector"], test.rated[test._lines] >= LIKED
    return np.asarray((liked @ lines) @ lines[test.hidden].T, np.float32)


def _summed(test: Hidden, settings: dict[str, tuple[str, float]]) -> Scores:
    scores = [z_scores(test.ridge(target, *one)) for target, one in settings.items()]
    return np.asarray(np.sum(scores, axis=0), np.float32)


def _by_trees(parts: Sequence[Hidden], tests: Sequence[Hidden]) -> tuple[list[Ranked], str]:
    """Let LightGBM learn from hidden films: two thirds of them choose how by the others, then all teach."""
    tables, gains = [_table(part) for part in parts], [part.gains for part in parts]
    some = len(parts) * 2 // 3

    value: dict[tuple[int, int], float] = {}
    for leaves in LEAVES:
        model = _learn(tables[:some], gains[:some], leaves, SEEDS[0])
        for rounds in ROUNDS:
            scores = [_scored(model, table, rounds) for table in tables[some:]]
            values = [part.ndcg(of) for part, of in zip(parts[some:], scores, strict=True)]
            value[leaves, rounds] = float(np.concatenate(values).mean())
    leaves, rounds = max(value, key=lambda one: value[one])
    models = [_learn(tables, gains, leaves, seed) for seed in SEEDS]
    ranked = [test.ranked(_scored(model, _table(test), rounds)) for test, model in zip(tests, models, strict=True)]
    return ranked, f"{leaves} leaves, {rounds} rounds"


def _table(one: Hidden) -> NDArray[np.float32]:
    """(B, H, F)."""
    return np.stack([*one.facts().values()], axis=2).astype(np.float32)


def _learn(
    tables: Sequence[NDArray[np.float32]], gains: Sequence[NDArray[np.int64]], leaves: int, seed: int
) -> lgb.LGBMRanker:
    model = lgb.LGBMRanker(
        objective="lambdarank",
        n_estimators=ROUNDS[-1],
        learning_rate=0.04,
        num_leaves=leaves,
        min_child_samples=200,
        subsample=0.7,
        subsample_freq=1,
        colsample_bytree=0.5,
        reg_lambda=10.0,
        random_state=seed,
        n_jobs=1,
        max_bin=63,
        verbose=-1,
        lambdarank_truncation_level=30,
    )
    groups = np.concatenate([np.full(len(one), one.shape[1]) for one in tables])
    flat = np.concatenate([one.reshape(-1, one.shape[2]) for one in tables])
    model.fit(flat, np.concatenate([one.reshape(-1) for one in gains]), group=groups)
    return model


def _scored(model: lgb.LGBMRanker, table: NDArray[np.float32], rounds: int) -> Scores:
    scores: Scores = np.asarray(
        model.booster_.predict(table.reshape(-1, table.shape[2]), num_iteration=rounds), np.float32
    )
    return scores.reshape(table.shape[:2])


def _sparse(given: Mask) -> Any:  # noqa: ANN401 - scipy ships no types
    from scipy.sparse import csr_matrix

    return csr_matrix(given.astype(np.float32))
