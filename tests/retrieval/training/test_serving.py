"""How far a short history counts is chosen after short histories."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from indexing.bundle.build import build_bundle
from indexing.encoders import load_encoder
from retrieval import Retriever, fit
from retrieval.fitting.selection.serving_weights import SHRINKAGES, apply_serving, select_history_shrinkage
from retrieval.models.behaviour import Behaviour
from retrieval.training.one_standard_error import Values
from tests.groups import COUNT, SMALL, catalogue, items, log
from tests.retrieval.models.test_behaviour import random_block


def away(wanted: float, block: Behaviour) -> Values:
    return np.full(20, -abs(block.history_shrinkage - wanted))


def test_the_best_length_is_chosen_and_the_first_of_equals() -> None:
    block = random_block()
    for wanted in SHRINKAGES:
        chosen, few = select_history_shrinkage(block, partial(away, wanted))
        assert (chosen.history_shrinkage, few) == (wanted, wanted)
    assert select_history_shrinkage(block, lambda one: np.full(20, 0.5))[1] == SHRINKAGES[0]


def test_a_block_is_served_as_was_said_and_as_it_is_where_nothing_was() -> None:
    block = replace(random_block(), history_shrinkage=3.0)
    serving = {"half_life": 5.0, "share": 1.5, "popular": 0.2, "content": 0.4}
    assert apply_serving(block, serving).history_shrinkage == 3
    assert apply_serving(block, serving | {"few": 1.0}).history_shrinkage == 1


def test_where_one_click_tells_all_it_counts_whole(tmp_path: Path) -> None:
    build_bundle(catalogue(tmp_path, items(range(COUNT))), load_encoder("vectors:"), tmp_path / "bundle")
    report = fit(tmp_path / "bundle", log(), SMALL)
    block = Retriever.load(tmp_path / "bundle").behaviour
    assert block is not None
    assert report.serving["few"] == block.history_shrinkage == 0
