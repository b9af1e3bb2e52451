"""Second stages that earlier versions stored, with heads and switches that are learned no more, answer as they did."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load, save

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import DamagedFileError
from retrieval.candidates import Candidates
from retrieval.models.features.item_texts import metadata_entry
from retrieval.ranking.heads import BothHead, NeuralHead, TreesHead
from retrieval.ranking.second_stage import SecondStage
from retrieval.ranking.stored_stage import carried_over
from retrieval.training.ranker.neural_head import train_neural_head, train_trees_head
from retrieval.training.ranker.ranker import StageTrainer
from tests.retrieval.ranking.test_stage import HISTORIES, SMALL, VIEWS, asked, learner, space_of
from tests.retrieval.ranking.worlds import ITEMS, moment_of

Tensors = dict[str, NDArray[np.generic]]
SPREADS = np.array([0.7, 0.2], np.float32)


@pytest.fixture(scope="module")
def heads() -> tuple[NeuralHead, TreesHead]:
    pytest.importorskip("lightgbm")
    examples = learner().examples(moment_of(HISTORIES))
    return train_neural_head(examples, SMALL.neural)[0], train_trees_head(examples, SMALL.trees)


def stage_of(head: NeuralHead | TreesHead, one: StageTrainer) -> SecondStage:
    return one.stage(head, HISTORIES)


def earlier(stage: SecondStage, heads: tuple[NeuralHead, TreesHead], *, returning: bool, **metadata: Any) -> bytes:  # noqa: ANN401
    """Write a stage with both heads, and whatever else it tells, as an earlier version did."""
    data = stage.to_bytes()
    tensors: Tensors = {name: one for name, one in load(data).items() if not name.startswith("head.")}
    for place in ("head", *(["returning"] if returning else [])):
        of_heads = {"neural": heads[0].tensors(), "trees": heads[1].tensors()}
        for part, made in of_heads.items():
            tensors |= {f"{place}.{part}.{name}": np.ascontiguousarray(one) for name, one in made.items()}
        tensors[f"{place}.spreads"] = SPREADS
    metadata = (
        metadata_entry(data, "stage") | {"head": "both"} | ({"returning": "both"} if returning else {}) | metadata
    )
    return save(tensors, {"stage": json.dumps(metadata)})


def pool_of(stage: SecondStage) -> Candidates:
    now = np.full(20, stage.features.statistics.now)  # what was taken of late is stored as it is then
    return stage.pool(replace(asked(), times=now), ItemIds(ITEMS), 10)


@pytest.mark.parametrize("returning", [False, True])
def test_both_heads_have_an_equal_say_as_before(heads: tuple[NeuralHead, TreesHead], returning: bool) -> None:
    stage = stage_of(heads[0], learner())
    data = earlier(stage, heads, returning=returning)
    read, pool = SecondStage.from_bytes(data, space_of(None), VIEWS), pool_of(stage)
    assert isinstance(read.head, BothHead)
    assert isinstance(read.returning, BothHead) == returning
    features = stage.features.of(pool)
    expected = heads[0].score(features) / SPREADS[0] + heads[1].score(features) / SPREADS[1]
    found = read.rerank(pool)
    for line in range(len(pool)):
        there = int((pool.rows[line] >= 0).sum())
        by_row = dict(zip(pool.rows[line, :there].tolist(), expected[line].tolist(), strict=False))
        # Features are made in another order of blocks: float32 sums that round differently.
        np.testing.assert_allclose(
            found.scores[line, :there], [by_row[row] for row in found.rows[line, :there].tolist()], rtol=1e-4, atol=1e-4
        )
        assert (np.diff(found.scores[line, :there]) <= 0).all()


def test_both_heads_are_written_again_as_they_were(heads: tuple[NeuralHead, TreesHead]) -> None:
    """As when a bundle is compacted: for the same items, and for fewer."""
    stage = stage_of(heads[0], learner())
    data = earlier(stage, heads, returning=True)
    read = SecondStage.from_bytes(data, space_of(None), VIEWS)
    pool = pool_of(stage)
    for again in (read.to_bytes(), carried_over(data, np.empty(0, np.int64), np.ones(len(ITEMS), np.bool_))):
        after = SecondStage.from_bytes(again, space_of(None), VIEWS).rerank(pool)
        np.testing.assert_array_equal(after.rows, read.rerank(pool).rows)
        np.testing.assert_array_equal(after.scores, read.rerank(pool).scores)


@pytest.mark.parametrize("spreads", [[0.7], [0.7, 0.0], [0.7, -1.0]])
def test_damaged_spreads_are_a_typed_error(heads: tuple[NeuralHead, TreesHead], spreads: list[float]) -> None:
    data = earlier(stage_of(heads[0], learner()), heads, returning=False)
    tensors = load(data) | {"head.spreads": np.array(spreads, np.float32)}
    changed = save(tensors, {"stage": json.dumps(metadata_entry(data, "stage"))})
    with pytest.raises(DamagedFileError, match="spreads of two heads are"):
        SecondStage.from_bytes(changed, space_of(None), VIEWS)


@pytest.mark.parametrize("judged", [False, True])
def test_whether_a_stored_head_judges_new_items_stays(heads: tuple[NeuralHead, TreesHead], judged: bool) -> None:
    stage = stage_of(heads[0], learner())
    read = SecondStage.from_bytes(earlier(stage, heads, returning=False, new_items=judged), space_of(None), VIEWS)
    assert read.new_items is judged
    assert SecondStage.from_bytes(read.to_bytes(), space_of(None), VIEWS).new_items is judged
