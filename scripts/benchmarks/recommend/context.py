"""Context: simulated users whose device decides which half of a catalogue they take from, and a mood that says nothing.

python -m scripts.benchmarks.recommend.context

A shop of 300 items. Each of 500 users takes 16 items, one a day, each by a device that is drawn. On the phone nine of
ten items are of the even rows, at the desk of the odd ones; within a half popularity and the taste of the user decide.
The vectors of items say nothing of the half. Three models learn from the same log: without context, with the device,
and with the mood, which is drawn too. Each answers every user once by each device, without the items taken before, and
is judged by the probabilities of the simulation: ndcg@10 with the probability as gain. Differences are of the same
users, with their paired 95 % bootstrap intervals. Three seeds.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from indexing.arrays import unit
from indexing.bundle.build import build_bundle
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from retrieval import FitConfig, Interactions, Retriever, fit
from retrieval.evaluation.statistics import bootstrap_intervals
from retrieval.interactions.histories import histories
from scripts.benchmarks.record import by_seed, keep

ITEMS, USERS, LENGTH, DIM, K = 300, 500, 16, 16, 10
START = 1_700_000_000
SEEDS = (0, 1, 2)
DEVICES, MOODS = ("phone", "desk"), ("glad", "sad")
MODELS: dict[str, list[str]] = {"without": [], "device": ["device"], "mood": ["mood"]}
CONFIG = FitConfig(effort="fast", exposure_floor=0.5)
Doubles = NDArray[np.float64]


def simulate(seed: int) -> tuple[NDArray[np.float32], Doubles, pa.Table]:
    """Give the item vectors, the probability (U, 2, N) that a user takes an item by a device, and the log."""
    rng = np.random.default_rng(seed)
    content = unit(rng.normal(size=(ITEMS, DIM)).astype(np.float32))
    tastes = unit(rng.normal(size=(USERS, DIM)).astype(np.float32))
    worth = np.exp(6 * (tastes @ content.T).astype(np.float64) + 0.7 * rng.normal(size=ITEMS))
    is_odd = np.arange(ITEMS) % 2
    halves = np.where(is_odd == np.array([[0], [1]]), 0.9, 0.1)  # by the phone even rows, at the desk odd ones
    taken = worth[:, None] * halves
    taken /= taken.sum(axis=2, keepdims=True)
    lines: list[Any] = []
    for user in range(USERS):
        left = np.ones(ITEMS)
        for step in range(LENGTH):
            device, mood = rng.integers(2, size=2).tolist()
            chances = taken[user, device] * left
            row = int(rng.choice(ITEMS, p=chances / chances.sum()))
            left[row] = 0
            lines.append(
                (f"u{user:03}", f"i{row:03}", START + step * SECONDS_PER_DAY + user, DEVICES[device], MOODS[mood])
            )
    names = ("user", "item", "time", "device", "mood")
    return content, taken, pa.table(dict(zip(names, map(list, zip(*lines, strict=True)), strict=True)))


def learn(content: NDArray[np.float32], table: pa.Table, names: list[str], folder: Path) -> tuple[Path, dict[str, Any]]:
    """Fit a bundle with columns of the context, and give what its report says."""
    vectors = pa.array(content.tolist(), pa.list_(pa.float32()))
    items = pa.table({"item_id": [f"i{row:03}" for row in range(ITEMS)], "text_vector": vectors})
    folder.mkdir()
    pq.write_table(items, folder / "items.parquet")
    build_bundle(Catalogue.from_parquet(folder / "items.parquet"), load_encoder("vectors:"), folder / "bundle")
    report = fit(folder / "bundle", Interactions.from_arrow(table, context=names), CONFIG)
    gain = None if report.in_context is None else str(report.in_context)
    return folder / "bundle", {"published": report.published, "gain in fit": gain, "notes": report.notes}


def judge(bundle: Path, taken: Doubles, table: pa.Table, names: list[str]) -> Doubles:
    """Give ndcg@10 of each user, (U,), the mean of both devices, by the probabilities of the simulation."""
    retriever = Retriever.open(bundle)
    user_histories = histories(Interactions.from_arrow(table), retriever.items)
    lists = [[retriever.items[row] for row in past.rows] for past in user_histories]
    discounts, values = 1 / np.log2(np.arange(2, K + 2)), np.zeros((USERS, 2))
    for device, name in enumerate(DEVICES):
        given = {"device": name} if names == ["device"] else None
        answers = retriever.recommend(lists, K, context=given)
        for user, (past, rows) in enumerate(zip(user_histories, answers.rows, strict=True)):
            gains = taken[user, device]  # items are in the order of their rows, users in that of their names
            best = np.sort(np.delete(gains, past.rows))[::-1][:K]
            values[user, device] = (gains[rows] * discounts).sum() / (best * discounts).sum()
    means: Doubles = values.mean(axis=1)
    return means


def measure(seed: int, folder: Path) -> dict[str, Any]:
    """Compare the three models in one world."""
    content, taken, table = simulate(seed)
    values, found = dict[str, Doubles](), dict[str, Any]()
    for model, names in MODELS.items():
        bundle, found[model] = learn(content, table, names, folder / model)
        values[model] = judge(bundle, taken, table, names)
        found[model]["ndcg@10"] = round(float(values[model].mean()), 4)
    for model in ("device", "mood"):
        difference = values[model] - values["without"]
        low, high = bootstrap_intervals(difference[:, None], level=0.95)[0].tolist()
        found[model]["difference"] = [round(float(one), 4) for one in (difference.mean(), low, high)]
    return {"seed": seed, **found}


def main() -> None:
    """Measure with three seeds, and keep the result."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    keep("context", {"worlds": by_seed(measure, SEEDS)}, SEEDS[0])


if __name__ == "__main__":
    main()
