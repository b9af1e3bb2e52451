"""Attention where order matters: simulated playlists, `fit` with attention over histories and without.

python -m scripts.research.playlists [--seeds 0 1 2] [--users 1200] [--tracks 2000]

Tracks belong to 40 genres, and a user stays with two to five of them. Each track has four likely successors, and each
pair of tracks in a row leans to one of them: half of the next tracks follow from the last track, a quarter from the
last two, the rest is drawn from the genre by popularity. Nobody hears a track twice. A user has 6 to 18 playlists of 6
to 14 tracks, each with its time; the second half of the last one should be found from all that came before. All is
learned by `fit` with its defaults, and asked by `recommend`. "truth" ranks by the chance that a track comes next or
after next.
"""

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from indexing.bundle.build import build_bundle
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from retrieval import Candidates, Evaluation, FitConfig, Interactions, Retriever, evaluate, fit
from retrieval.evaluation import against_baselines, compare
from retrieval.training.config import AttentionConfig, BehaviourConfig
from scripts.benchmarks.recommend.film_bundle import STAGES, seeded
from scripts.benchmarks.recommend.music import together
from scripts.benchmarks.recommend.systems import SEEDS, K
from scripts.benchmarks.record import keep
from scripts.research.film_trials import differences

GENRES, SUCCESSORS, TEXT = 40, 4, 64
FROM_LAST, FROM_PAIR = 0.5, 0.25
START, MINUTES = 1_700_000_000, 240
MEASURES = (f"recall@{K}", f"ndcg@{K}")
ATTENTION = {"without": None, "with": AttentionConfig()}
TRUTH = "truth"


@dataclass(frozen=True, eq=False)
class Tracks:
    """Tracks and what follows them.

    Attributes:
        genre: (N,) int64.
        popularity: (N,) float64.
        successors: (N, 4) int64, of the same genre.
        texts: (N, 64) float32, which tell the genre and little else.
    """

    genre: NDArray[np.int64]
    popularity: NDArray[np.float64]
    successors: NDArray[np.int64]
    texts: NDArray[np.float32]

    @classmethod
    def drawn(cls, count: int, rng: np.random.Generator) -> "Tracks":
        """Draw them."""
        genre = rng.integers(0, GENRES, count)
        members = [np.flatnonzero(genre == one) for one in range(GENRES)]
        successors = np.stack([rng.choice(members[genre[row]], SUCCESSORS) for row in range(count)])
        texts = 1.5 * rng.normal(size=(GENRES, TEXT))[genre] + rng.normal(size=(count, TEXT))
        popularity = np.exp(-0.7 * np.log(rng.permutation(count) + 15.0))
        return cls(genre, popularity, successors, texts.astype(np.float32))

    def chances(self, genre: int, last: int | None, before: int | None) -> NDArray[np.float64]:
        """Give the chance of each track to come next, (N,) float64."""
        of_genre = np.where(self.genre == genre, self.popularity, 0.0)
        chances: NDArray[np.float64] = of_genre / of_genre.sum()
        if last is None:
            pass
        elif before is None:
            chances *= 1 - FROM_LAST
            np.add.at(chances, self.successors[last], FROM_LAST / SUCCESSORS)
        else:
            chances *= 1 - FROM_LAST - FROM_PAIR
            np.add.at(chances, self.successors[last], FROM_LAST / SUCCESSORS)
            chances[self.successors[last, (before * 31 + last) % SUCCESSORS]] += FROM_PAIR
        return chances

    def playlist(self, genre: int, length: int, heard: set[int], rng: np.random.Generator) -> list[int]:
        """Draw tracks in a row, none of which was heard."""
        tracks: list[int] = []
        for _ in range(length):
            last, before = (tracks[-1] if tracks else None), (tracks[-2] if len(tracks) > 1 else None)
            chances = self.chances(genre, last, before)
            chances[list(heard)] = 0.0
            if not chances.sum():
                break
            track = int(rng.choice(len(chances), p=chances / chances.sum()))
            heard.add(track)
            tracks.append(track)
        return tracks


def main() -> None:
    """Measure both on every world, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--users", type=int, default=1_200)
    parser.add_argument("--tracks", type=int, default=2_000)
    options = parser.parse_args()
    worlds = []
    for seed in options.seeds:
        worlds.append(measured(options.users, options.tracks, seed))
        print(seed, {name: one.means for name, one in worlds[-1].items()}, flush=True)
    table: dict[str, Any] = {name: together([world[name] for world in worlds]) for name in worlds[0]}
    for stages in STAGES:
        table[f"{stages}, added by attention"] = {
            seed: differences(
                compare(world[f"{stages}, without"], world[f"{stages}, with"], measures=list(MEASURES), resamples=2000)
            )
            for seed, world in zip(options.seeds, worlds, strict=True)
        }
    keep("playlists", table, seed=options.seeds[0])


@dataclass(frozen=True, eq=False)
class World:
    """Playlists of users, cut in the last one.

    Attributes:
        tracks: What they are drawn from.
        log: What came before the cut.
        user_ids: Who asks.
        targets: For each of these what follows.
        truth: (Q, K) int64, tracks by the chance that they follow.
    """

    tracks: Tracks
    log: Interactions
    user_ids: list[str]
    targets: list[list[str]]
    truth: NDArray[np.int64]

    @classmethod
    def drawn(cls, users: int, count: int, seed: int) -> "World":
        """Draw it."""
        rng = np.random.default_rng(seed)
        tracks = Tracks.drawn(count, rng)
        events: list[tuple[str, str, int]] = []
        user_ids, targets, truth = [], [], []
        for user in range(users):
            genres = rng.choice(GENRES, rng.integers(2, 6), replace=False)
            heard: set[int] = set()
            first = START + int(rng.integers(0, SECONDS_PER_DAY // 2))
            for day in np.sort(rng.integers(0, 365, rng.integers(6, 19))).tolist():
                genre = int(rng.choice(genres))
                playlist = tracks.playlist(genre, int(rng.integers(6, 15)), heard, rng)
                events += [
                    (f"u{user}", f"t{row}", first + day * SECONDS_PER_DAY + MINUTES * at)
                    for at, row in enumerate(playlist)
                ]
            half = len(playlist) // 2
            if half >= 2:
                del events[half - len(playlist) :]
                user_ids.append(f"u{user}")
                targets.append([f"t{row}" for row in playlist[half:]])
                truth.append(best_order(tracks, genre, playlist[:half], heard - set(playlist[half:])))
        columns = dict(zip(("user", "item", "timestamp"), map(list, zip(*events, strict=True)), strict=True))
        return cls(tracks, Interactions.from_arrow(pa.table(columns)), user_ids, targets, np.stack(truth))

    def bundle(self, folder: Path) -> None:
        """Build a bundle of the tracks."""
        path = folder.with_suffix(".parquet")
        ids = [f"t{row}" for row in range(len(self.tracks.texts))]
        pq.write_table(pa.table({"item_id": ids, "text_vector": self.tracks.texts.tolist()}), path)
        build_bundle(Catalogue.from_parquet(path), load_encoder(f"vectors:{TEXT}"), folder)


def measured(users: int, count: int, seed: int) -> dict[str, Evaluation]:
    """Draw a world, fit both ways, and judge these, the baselines and the truth."""
    world, found = World.drawn(users, count, seed), {}
    with tempfile.TemporaryDirectory() as folder:
        for name, attention in ATTENTION.items():
            bundle = Path(folder, name)
            world.bundle(bundle)
            behaviour = replace(FitConfig().behaviour or BehaviourConfig(), attention=attention)
            report = fit(bundle, world.log, seeded(FitConfig(behaviour=behaviour), seed))
            print(name, report.published, report.serving, flush=True)
            retriever = Retriever.open(bundle)
            for row, stages in STAGES.items():
                answer = retriever.recommend(world.log, K, user_ids=world.user_ids, stages=stages)
                found[f"{row}, {name}"] = evaluate(answer, world.targets, measures=MEASURES)
        beside = against_baselines(answer, world.targets, world.log, content=retriever.vectors, measures=MEASURES)
    found |= {row.baseline.name: row.evaluation for row in beside.rows}
    row_of = {item_id: row for row, item_id in enumerate(answer.items)}
    rows = np.array([[row_of[f"t{track}"] for track in tracks] for tracks in world.truth.tolist()])
    scores = np.broadcast_to(-np.arange(K, dtype=np.float32), rows.shape).copy()
    ideal = Candidates(np.zeros((len(rows), 0), np.float32), rows, scores, answer.items, TRUTH)
    return found | {TRUTH: evaluate(ideal, world.targets, measures=MEASURES)}


def best_order(tracks: Tracks, genre: int, kept: list[int], heard: set[int]) -> NDArray[np.int64]:
    """Rank tracks by the chance that they come next, or after that by way of a likely one."""
    following = tracks.chances(genre, kept[-1], kept[-2])
    chances = following.copy()
    for track in np.argsort(-following)[:SUCCESSORS].tolist():
        chances += following[track] * tracks.chances(genre, track, kept[-1])
    chances[list(heard)] = -1.0
    return np.argsort(-chances, kind="stable")[:K]


if __name__ == "__main__":
    main()
