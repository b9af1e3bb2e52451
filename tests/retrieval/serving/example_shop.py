"""A small shop in which all examples of the OpenAPI can be asked for: its items, words, users and what it learned."""

from itertools import count
from pathlib import Path

import pyarrow as pa
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.maintenance.index_words import index_words
from indexing.catalogue.catalogue import Catalogue
from retrieval import FitConfig, Interactions, fit
from retrieval.fitting.selection.validation import Gain, Validation
from retrieval.training.config import BehaviourConfig, NextItemsConfig
from retrieval.training.ranker_config import HeadConfig, StageConfig
from tests.toy import ToyEncoder

KINDS = {
    "kitchen": ("mug", "cup", "teapot", "kettle", "plate"),
    "food": ("croissant", "orange-slice", "coffee", "bread", "cheese"),
    "animals": ("elephant", "golden-retriever", "parrot", "horse", "goldfish"),
    "clothes": ("red-shoe", "scarf", "jacket", "hat", "gloves"),
}
"""Items of each category."""
DIMS = count(2)


def items() -> list[dict[str, object]]:
    """The items of the shop."""
    return [
        {"item_id": name, "title": name.replace("-", " "), "category": category, "price": 5 + 3 * number, "year": 2020}
        for category, names in KINDS.items()
        for number, name in enumerate(names)
    ]


def log() -> pa.Table:
    """Users who go through one category, then through another."""
    names = list(KINDS.values())
    lists = [names[start] + names[(start + 1) % len(names)] for start in range(len(names))]
    return pa.Table.from_pylist([
        {"user_id": f"u{copy}-{number}", "item_id": item, "timestamp": 1_700_000_000 + 60 * step, "weight": 1.0}
        for copy in range(8)
        for number, taken in enumerate(lists)
        for step, item in enumerate(taken[copy:] + taken[:copy])
    ])  # fmt: skip


def built(folder: Path) -> Path:
    """Build the bundle, index its words, and learn a behaviour block and a head."""
    root = folder / "bundle"
    build_bundle(Catalogue.from_arrow(pa.Table.from_pylist(items())), ToyEncoder(), root)
    index_words(root, ["title"])
    behaviour = BehaviourConfig(ease_dims=4, next_items=NextItemsConfig(dims=4, epochs=2))
    config = FitConfig(adapter=None, behaviour=behaviour, reranker=StageConfig(neural=HeadConfig(epochs=3)))
    learned(root, config)
    return root


def staged(root: Path) -> None:
    """Stage a generation that learned less, and something else each time."""
    config = FitConfig(adapter=None, behaviour=BehaviourConfig(ease_dims=next(DIMS), next_items=None), reranker=None)
    learned(root, config, publish=False)


def learned(root: Path, config: FitConfig, *, publish: bool = True) -> None:
    """Learn all parts, though content alone answers these users as well."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Validation, "gain", lambda *_: Gain(32, 0.5, 1.0, 0.5, 0.4, 0.6))
        fit(root, Interactions.from_arrow(log()), config, publish=publish)
