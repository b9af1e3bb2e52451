"""Simulated music: who listens to whom, without times and with vectors of two models, and a truth that is known.

python -m scripts.benchmarks.recommend.music [--seeds 0 1 2] [--users 1850] [--artists 1400]

It guards against what suits MovieLens alone. Artists belong to scenes of genres; some are far better known than others.
A user stays with one to four scenes and listens in sessions, each of one scene; the 50 artists played most are the log,
with their plays, in the order in which they were met first. Vectors of texts tell the genre and little of the scene,
those of sounds the scene and little of the artist, in 80 % of them; nothing tells who else is liked by the same people.
A fifth of each user's artists, drawn at random, should be found.

All is learned by `fit` with its defaults, and asked by `recommend`; baselines are those of `evaluate`, with settings
chosen on the past. "truth" ranks by the probabilities that the plays were drawn from: nothing can be better on average.
Users of all seeds, each a world of its own, are judged as one; intervals are over users.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors
from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from retrieval import Candidates, Evaluation, FitConfig, Interactions, Retriever, evaluate, fit
from retrieval.evaluation import against_baselines
from retrieval.evaluation.statistics import bootstrap_means
from scripts.benchmarks.recommend.film_bundle import STAGES, report_json, seeded
from scripts.benchmarks.recommend.systems import SEEDS, K
from scripts.benchmarks.record import keep

GENRES, SCENES, HIDDEN = 12, 60, 10
PLAYED, HELD_OUT = 50, 0.2
TEXT, SOUND, WITH_SOUND = 64, 48, 0.8
MEASURES = (f"recall@{K}", f"ndcg@{K}")
TRUTH = "truth"
Values = NDArray[np.float64]


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--users", type=int, default=1_850)
    parser.add_argument("--artists", type=int, default=1_400)
    given = parser.parse_args()
    worlds = [measured(World.drawn(given.users, given.artists, seed), seed) for seed in given.seeds]
    table = {name: together([one[0][name] for one in worlds]) for name in worlds[0][0]}
    best = max((name for name in table if name not in (*STAGES, TRUTH)), key=lambda name: table[name][MEASURES[1]][0])
    for name in STAGES:
        table[name] |= {"best baseline": best} | relative([one[0] for one in worlds], best, name)
    keep("music", {"table": table, "fit": [report for _, report in worlds]}, seed=given.seeds[0])


@dataclass(frozen=True, eq=False)
class World:
    """Artists, and who listens to them.

    Attributes:
        texts: (N, 64) float32.
        sounds: (N, 48) float32.
        heard: (N,) bool, whose sound is known.
        chances: (U, N) float64, from which plays are drawn.
        plays: (U, N) int64, those of the artists that each user played most, 0 for others.
        order: (U, N) int64, the place of each artist among those that a user met.
    """

    texts: Vectors
    sounds: Vectors
    heard: NDArray[np.bool_]
    chances: Values
    plays: Rows
    order: Rows

    @classmethod
    def drawn(cls, users: int, artists: int, seed: int) -> "World":
        """Draw artists, then sessions of users."""
        rng = np.random.default_rng(seed)
        genre_of = rng.integers(0, GENRES, SCENES)
        scene_of = rng.integers(0, SCENES, artists)
        genres, scenes = np.eye(GENRES)[genre_of], np.eye(SCENES)
        circles, scene_circles = rng.normal(size=(artists, HIDDEN)), rng.normal(size=(SCENES, HIDDEN))
        known = -0.9 * np.log(rng.permutation(artists) + 15.0)
        # How far a session of a scene goes for an artist: its own, its genre, and what no vector tells.
        near = 4.0 * scenes[:, scene_of] + 1.5 * genres @ genres[scene_of].T + 0.6 * scene_circles @ circles.T
        chance_of_scene = _softmax(near + known)
        chances, plays = np.zeros((users, artists)), np.zeros((users, artists), np.int64)
        order = np.zeros((users, artists), np.int64)
        for user in range(users):
            liked = rng.choice(SCENES, rng.integers(1, 5), replace=False)
            parts = rng.dirichlet(np.ones(len(liked)))
            taste = np.exp(0.5 * circles @ rng.normal(size=HIDDEN))
            of_scene = chance_of_scene[liked] * taste
            of_scene /= of_scene.sum(axis=1, keepdims=True)
            chances[user] = parts @ of_scene
            sessions = [
                rng.choice(artists, rng.integers(4, 12), p=of_scene[rng.choice(len(liked), p=parts)])
                for _ in range(rng.integers(20, 80))
            ]
            met, first, count = np.unique(np.concatenate(sessions), return_index=True, return_counts=True)
            most = np.argsort(-count, kind="stable")[:PLAYED]
            plays[user, met[most]], order[user, met] = count[most], first
        texts = (
            1.5 * genres[scene_of] @ rng.normal(size=(GENRES, TEXT)) + 0.7 * rng.normal(size=(SCENES, TEXT))[scene_of]
        )
        sounds = rng.normal(size=(SCENES, SOUND))[scene_of] + 0.5 * circles @ rng.normal(size=(HIDDEN, SOUND)) / 3
        texts, sounds = texts + rng.normal(size=texts.shape), sounds + rng.normal(size=sounds.shape)
        heard = rng.random(artists) < WITH_SOUND
        return cls(texts.astype(np.float32), sounds.astype(np.float32), heard, chances, plays, order)

    def items(self) -> pa.Table:
        """Give a line an artist."""
        sounds = [vector if there else None for vector, there in zip(self.sounds.tolist(), self.heard, strict=True)]
        return pa.table(
            {
                "item_id": [f"a{row}" for row in range(len(self.texts))],
                "text_vector": pa.array(self.texts.tolist(), pa.list_(pa.float32())),
                "audio_vector": pa.array(sounds, pa.list_(pa.float32())),
            }
        )

    def cut(self, seed: int) -> tuple[Interactions, list[str], list[set[str]]]:
        """Draw what is to be found: the log without it, who asks, and for each what should be found."""
        rng = np.random.default_rng(seed)
        lines, users, wanted = list[tuple[str, str, int]](), list[str](), list[set[str]]()
        for user, plays in enumerate(self.plays):
            met = np.flatnonzero(plays)
            met = met[np.argsort(self.order[user, met], kind="stable")]
            away = set(rng.choice(met, int(HELD_OUT * len(met)), replace=False).tolist())
            lines += [(f"u{user}", f"a{row}", int(plays[row])) for row in met.tolist() if row not in away]
            if away:
                users.append(f"u{user}")
                wanted.append({f"a{row}" for row in away})
        columns = dict(zip(("user", "item", "weight"), map(list, zip(*lines, strict=True)), strict=True))
        return Interactions.from_arrow(pa.table(columns)), users, wanted


def _softmax(values: Values) -> Values:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    found: Values = powers / powers.sum(axis=1, keepdims=True)
    return found


def measured(world: World, seed: int) -> tuple[dict[str, Evaluation], dict[str, Any]]:
    """Build, fit and ask as a user does; then baselines and the truth, on the same users."""
    past, users, wanted = world.cut(seed)
    with tempfile.TemporaryDirectory() as folder:
        path, bundle = Path(folder, "artists.parquet"), Path(folder, "bundle")
        pq.write_table(world.items(), path)
        build_bundle(Catalogue.from_parquet(path), load_encoder("vectors:separate"), bundle)
        report = fit(bundle, past, seeded(FitConfig(), seed))
        retriever = Retriever.open(bundle)
        lists = {name: retriever.recommend(past, K, user_ids=users, stages=stages) for name, stages in STAGES.items()}
        found = {name: evaluate(one, wanted, measures=MEASURES) for name, one in lists.items()}
        beside = against_baselines(
            lists["two stages"], wanted, past, content=retriever.vectors, measures=MEASURES, share=HELD_OUT
        )
    found |= {row.baseline.name: row.evaluation for row in beside.rows}
    found[TRUTH] = evaluate(by_truth(world, lists["two stages"]), wanted, measures=MEASURES)
    return found, report_json(report) | {"baselines": [row.baseline.to_json() for row in beside.rows]}


def by_truth(world: World, asked: Candidates) -> Candidates:
    """Rank what each user does not know by the chance that it is played."""
    places = np.array([int(user.removeprefix("u")) for user in asked.query_ids])
    column = np.array([int(item_id.removeprefix("a")) for item_id in asked.items])
    scores = world.chances[places][:, column].astype(np.float32)
    for line, history in enumerate(asked.histories):
        scores[line, history] = -np.inf
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    nothing = np.zeros((len(asked), 0), np.float32)
    best = np.take_along_axis(scores, rows, axis=1)
    return Candidates(nothing, rows, best, asked.items, TRUTH, asked.query_ids, asked.histories)


def together(parts: list[Evaluation]) -> dict[str, Any]:
    """Give mean and 95 % interval of each measure over the users of all worlds."""
    table = {}
    for measure in MEASURES:
        values = np.concatenate([one.per_query[measure] for one in parts])
        low, high = np.quantile(bootstrap_means(values[:, None], seed=0, resamples=2000), [0.025, 0.975])
        table[measure] = [round(float(one), 4) for one in (values.mean(), low, high)]
    return table


def relative(worlds: list[dict[str, Evaluation]], best: str, name: str) -> dict[str, list[float]]:
    """Give how many times the best baseline something is worth, with a paired 95 % interval."""
    table = {}
    for measure in MEASURES:
        pairs = np.concatenate(
            [np.column_stack([world[one].per_query[measure] for one in (best, name)]) for world in worlds]
        )
        drawn = bootstrap_means(pairs, seed=0, resamples=2000)
        low, high = np.quantile(drawn[:, 1] / drawn[:, 0], [0.025, 0.975]).tolist()
        ratio = float(pairs[:, 1].mean() / pairs[:, 0].mean())
        table[f"{measure}, times it"] = [round(one, 3) for one in (ratio, low, high)]
    return table


if __name__ == "__main__":
    main()
