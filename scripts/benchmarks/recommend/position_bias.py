"""Position bias: simulated users who examine the top of a list more than its end, with and without the correction.

python -m scripts.benchmarks.recommend.position_bias

A shop of 300 items shows each of 400 users 20 lists of ten. Its order is that of popularity, of the user's taste, and
of chance; popularity is drawn, and says nothing of what is liked. A place is examined with probability 1 / place, and
what is examined and liked is taken. So most of what is taken is what was shown on top. `fit` learns from what was taken
alone (naive), and from the impressions too (corrected); both answer the same users by `recommend`, without what they
have taken, and are judged by the probabilities of the simulation: ndcg@10 with the probability as gain. The reranker is
trained over frozen vectors and its sources, without a behaviour block, which impressions do not teach: both models have
the same parts. Three seeds. The learned curve is compared with that of the simulation at the first ten places.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from indexing.arrays import unit
from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from retrieval import FitConfig, FitReport, Impressions, Interactions, Retriever, fit
from retrieval.interactions.histories import histories
from scripts.benchmarks.record import by_seed, keep

ITEMS, USERS, VISITS, PLACES, DIM = 300, 400, 20, 10, 16
START, HOUR = 1_700_000_000, 3600
SEEDS = (0, 1, 2)
CURVE = 1 / np.arange(1, PLACES + 1)
CONFIG = FitConfig(effort="fast", adapter=None, behaviour=None, exposure_floor=0.5)
Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class World:
    """A simulated shop.

    Attributes:
        content: (N, D) float32, the item vectors.
        liked: (U, N) float64, the probability that a user takes an item that is examined.
        impressions: What was shown.
        interactions: What was taken.
    """

    content: NDArray[np.float32]
    liked: Doubles
    impressions: pa.Table
    interactions: pa.Table


def simulate(seed: int) -> World:
    """Simulate the lists that users were shown, and what they took."""
    rng = np.random.default_rng(seed)
    content = unit(rng.normal(size=(ITEMS, DIM)).astype(np.float32))
    tastes = unit(rng.normal(size=(USERS, DIM)).astype(np.float32))
    affinity = (tastes @ content.T).astype(np.float64)
    liked = 1 / (1 + np.exp(2.5 - 8 * affinity))
    popularity = rng.normal(size=ITEMS)
    shown: list[tuple[str, str, int, int]] = []
    taken: list[tuple[str, str, int]] = []
    for visit in range(VISITS):
        scores = popularity + 2 * affinity + 0.7 * rng.gumbel(size=(USERS, ITEMS))
        lists = np.argsort(-scores, axis=1)[:, :PLACES]
        takes = rng.random(lists.shape) < CURVE * np.take_along_axis(liked, lists, axis=1)
        for user in range(USERS):
            time = START + visit * 24 * HOUR + int(rng.integers(12 * HOUR))
            for place, row in enumerate(lists[user].tolist()):
                shown.append((f"u{user:03}", f"i{row:03}", place + 1, time))
                if takes[user, place]:
                    taken.append((f"u{user:03}", f"i{row:03}", time + 10 * (place + 1)))
    return World(
        content, liked, _table(shown, ("user", "item", "position", "time")), _table(taken, ("user", "item", "time"))
    )


def _table(rows: list[Any], names: tuple[str, ...]) -> pa.Table:
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def learn(world: World, folder: Path, corrected: bool) -> tuple[float, FitReport]:
    """Fit a bundle of the world, and give ndcg@10 by the probabilities of the simulation."""
    items = pa.table(
        {
            "item_id": [f"i{row:03}" for row in range(ITEMS)],
            "text_vector": pa.array(world.content.tolist(), pa.list_(pa.float32())),
        }
    )
    folder.mkdir()
    pq.write_table(items, folder / "items.parquet")
    build_bundle(Catalogue.from_parquet(folder / "items.parquet"), load_encoder("vectors:"), folder / "bundle")
    log = Interactions.from_arrow(world.interactions)
    impressions = Impressions.from_arrow(world.impressions) if corrected else None
    report = fit(folder / "bundle", log, CONFIG, impressions=impressions)
    retriever = Retriever.open(folder / "bundle")
    user_histories = histories(log, retriever.items)
    answers = retriever.recommend(
        [[retriever.items[row] for row in past.rows] for past in user_histories],
        PLACES,
        user_ids=[past.user_id for past in user_histories],
    )
    values = []
    for past, rows in zip(user_histories, answers.rows, strict=True):
        gains = world.liked[int(past.user_id[1:])]  # items are in the order of their rows
        best = np.sort(np.delete(gains, past.rows))[::-1][:PLACES]
        discount = 1 / np.log2(np.arange(2, PLACES + 2))
        values.append((gains[rows] * discount).sum() / (best * discount).sum())
    return float(np.mean(values)), report


def measure(seed: int, folder: Path) -> dict[str, Any]:
    """Compare both models in one world."""
    world = simulate(seed)
    naive, plain = learn(world, folder / "naive", corrected=False)
    corrected, report = learn(world, folder / "corrected", corrected=True)
    curve = report.position_curve or {}
    learned = np.array(curve.get("propensities", [])[:PLACES])
    return {
        "seed": seed,
        "taken": len(world.interactions),
        "ndcg@10, naive": round(naive, 4),
        "ndcg@10, corrected": round(corrected, 4),
        "curve": learned.tolist(),
        "largest error of the curve": round(float(np.abs(learned - CURVE).max()), 4) if len(learned) else None,
        "published": {"naive": plain.published, "corrected": report.published},
        "notes": {"naive": plain.notes, "corrected": report.notes},
    }


def main() -> None:
    """Measure with three seeds, and keep the result."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    keep("position_bias", {"worlds": by_seed(measure, SEEDS), "true curve": np.round(CURVE, 4).tolist()}, SEEDS[0])


if __name__ == "__main__":
    main()
