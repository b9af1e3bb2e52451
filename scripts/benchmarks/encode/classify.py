"""The classifier this project grew from, against probes of frozen vectors and no training at all: accuracy, seconds.

    python -m scripts.benchmarks.encode.classify ITEMS [--sample 6000] [--seed 0] [--cache FOLDER] [--encoder pocket]

ITEMS is a Parquet file of products with `title`, `description`, `image` (bytes), `masterCategory` and `articleType`.
Of each of the two the 10 most frequent classes with at least 10 items are classified; a fifth of each class is the
test, a fifth of the rest is for choices (epochs, penalty), after which everything is fitted once more on both.

Texts name their label: a title often does, a description nearly always. Hence the titles once more without the words of
any class name, and for each text the share of test items whose text names their class.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
from sklearn.linear_model import LogisticRegression

from indexing.arrays import Rows, Vectors, unit
from indexing.encoders import load_encoder
from indexing.encoders.base import Encoder
from retrieval.evaluation.encoder_benchmark.measures import Estimate, estimate
from retrieval.evaluation.encoder_benchmark.probes import fit_linear, knn_classes, stratified
from scripts.benchmarks.encode.products import DESCRIPTION, IMAGE, TITLE, Items, TextMemo, names_own, read, without
from scripts.benchmarks.encode.seed_network import Inputs, train_and_ask
from scripts.benchmarks.record import keep

Found = TypeVar("Found")

LABELS = ("masterCategory", "articleType")
CLASSES, FEWEST = 10, 10
TEST, VALID = 0.2, 0.2
PENALTIES = (1.0, 10.0, 100.0)  # scikit-learn's C, the larger the weaker
BARE = "title without class names"
SHOWN = {
    TITLE: (TITLE,),
    BARE: (BARE,),
    DESCRIPTION: (DESCRIPTION,),
    IMAGE: (IMAGE,),
    "title and image": (TITLE, IMAGE),
}


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("items", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sample", type=int, help="most items, drawn at random; all when not given")
    parser.add_argument("--cache", type=Path, help="folder that keeps the pictures' vectors")
    parser.add_argument("--encoder", default="pocket")
    given = parser.parse_args()
    keep(
        "classify",
        measured(given.items, load_encoder(given.encoder), given.seed, given.cache, given.sample),
        given.seed,
    )


def measured(
    path: Path, encoder: Encoder, seed: int, cache: Path | None = None, sample: int | None = None
) -> dict[str, Any]:
    """Give what is reported, for each label."""
    items = read(path, LABELS, encoder, cache, drawn=(sample, seed))
    memo = TextMemo(encoder)
    by = {label: by_label(items, label, memo, seed) for label in LABELS}
    return {
        "encoder": encoder.info.name,
        "items": len(items.rows),
        "seconds apart from training": {
            "decoding pictures": items.seconds["decoding"],
            "encoding pictures": items.seconds["encoding"],
            "encoding texts": round(memo.seconds, 1),
            "different texts": len(memo),
        },
        "by": by,
    }


def by_label(items: Items, label: str, memo: TextMemo, seed: int) -> dict[str, Any]:
    """Classify by one label from each input."""
    counts = Counter(row[label] for row in items.rows if row[label])
    names = [name for name, count in counts.most_common(CLASSES) if count >= FEWEST]
    places = np.array([place for place, row in enumerate(items.rows) if row[label] in names])
    rows = [items.rows[place] for place in places.tolist()]
    split = divided(np.array([names.index(row[label]) for row in rows]), names, seed)
    texts = {
        TITLE: [row[TITLE] for row in rows],
        BARE: [without(row[TITLE], names) for row in rows],
        DESCRIPTION: [row[DESCRIPTION] for row in rows],
    }
    vectors = {name: memo.vectors(written) for name, written in texts.items()} | {IMAGE: items.images[places]}
    classes = memo.vectors(names)
    found = {}
    for name, shown in SHOWN.items():
        text = next((texts[one] for one in shown if one in texts), None)
        inputs = Inputs(text, items.pixels[places] if IMAGE in shown else None)
        found[name] = compared(split, inputs, [vectors[one] for one in shown], classes)
    tested = split.test.tolist()
    return {
        "classes": {name: counts[name] for name in names},
        "train": len(split.train),
        "test": len(split.test),
        "always the largest class": estimate(split.labels[split.test] == 0),
        "share of test texts that name their class": {
            name: round(float(np.mean([names_own(written[row], rows[row][label]) for row in tested])), 3)
            for name, written in texts.items()
        },
        "from": found,
    }


@dataclass(frozen=True, eq=False)
class Split:
    """Which items are learned from, which are asked for, and which of the former (by place) serve choices."""

    labels: Rows
    names: Sequence[str]
    train: Rows
    test: Rows
    valid: Rows
    seed: int


def divided(labels: Rows, names: Sequence[str], seed: int) -> Split:
    """Draw the test items of each class, and of the rest those for choices."""
    rng = np.random.default_rng(seed)
    test = stratified(labels, TEST, rng)
    train = np.setdiff1d(np.arange(len(labels)), test)
    return Split(labels, names, train, test, stratified(labels[train], VALID, rng), seed)


def compared(split: Split, inputs: Inputs, blocks: Sequence[Vectors], classes: Vectors) -> dict[str, Any]:
    """Classify from one input by each system; encoding is not in their seconds."""
    vectors = np.concatenate(blocks, axis=1)
    known, asked = vectors[split.train], vectors[split.test]
    labels, truth = split.labels[split.train], split.labels[split.test]
    network = train_and_ask(
        inputs.take(split.train),
        labels,
        split.valid,
        inputs.take(split.test),
        classes=len(split.names),
        seed=split.seed,
    )
    fused = unit(np.sum([unit(block[split.test]) for block in blocks], axis=0))
    answers: dict[str, tuple[Rows, float]] = {
        "network from scratch": (network.classes, network.seconds),
        "linear probe": timed(lambda: logistic(known, labels, split.valid, asked)),
        "ridge probe": timed(
            lambda: fit_linear(known, labels, valid=split.valid, classes=len(split.names)).classes(asked)
        ),
        "nearest neighbours": timed(lambda: knn_classes(known, labels, asked)),
        "zero-shot": timed(lambda: (fused @ classes.T).argmax(axis=1)),
    }
    right = {name: (found == truth).astype(np.float64) for name, (found, _) in answers.items()}
    report: dict[str, Any] = {
        name: {"accuracy": estimate(right[name]), "seconds": answers[name][1]} for name in answers
    }
    report["network from scratch"]["epochs"] = network.epochs
    report["linear probe minus network"] = difference(right["linear probe"], right["network from scratch"])
    return report


def difference(one: Vectors, other: Vectors) -> Estimate:
    """Give the difference of two accuracies on the same items."""
    return estimate(one - other)


def logistic(known: Vectors, labels: Rows, valid: Rows, asked: Vectors) -> Rows:
    """Logistic regression with the penalty that is best on the valid items, fitted once more on all."""
    fitted = np.setdiff1d(np.arange(len(labels)), valid)
    model = LogisticRegression(max_iter=200, tol=1e-3, warm_start=True)
    right = {}
    for penalty in PENALTIES:
        model.set_params(C=penalty).fit(known[fitted], labels[fitted])
        right[penalty] = float(model.score(known[valid], labels[valid]))
    model.set_params(C=max(right, key=lambda penalty: (right[penalty], -penalty))).fit(known, labels)
    answers: Rows = model.predict(asked).astype(np.int64)
    return answers


def timed(work: Callable[[], Found]) -> tuple[Found, float]:
    """Give what a function gives, and its seconds."""
    begun = perf_counter()
    found = work()
    return found, round(perf_counter() - begun, 2)


if __name__ == "__main__":
    main()
