"""Learned parts that are cut short, or are something else, are refused as damaged files."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load, save

from indexing.errors import DamagedFileError
from indexing.index.tuning.recall import RecallCheck
from indexing.media.files import Modality
from indexing.store.collect import ModalityVectors
from retrieval.models.adapter import Adapter
from retrieval.models.behaviour import Behaviour
from retrieval.models.features.column_encoders import columns_of
from retrieval.models.features.item_features import ItemFeatures
from retrieval.models.item_space import ItemSpace
from retrieval.models.profile_model import ProfileModel
from retrieval.models.user_model import UserModel
from retrieval.ranking.features import ItemStatistics, StageFeatures
from retrieval.ranking.heads import NeuralHead, TreesHead
from retrieval.ranking.second_stage import SecondStage
from retrieval.ranking.sources import Popular, Source, space_sources
from tests.retrieval.models.test_behaviour import random_block
from tests.retrieval.ranking.worlds import ITEMS, drawn

COUNT = len(ITEMS)
VECTORS = np.random.default_rng(0).normal(size=(COUNT, 6)).astype(np.float32)
SPACE = ItemSpace.of(VECTORS, UserModel())
TABLE = pa.table({"item_id": ITEMS, "title": [f"mug {n}" for n in range(COUNT)], "kind": ["a", "b"] * (COUNT // 2)})


def adapter() -> bytes:
    return Adapter.identity(6, 4, np.random.default_rng(0), (Modality.TEXT,)).to_bytes()


def description() -> bytes:
    frozen = ModalityVectors({Modality.TEXT: VECTORS.astype(np.float16)}, {Modality.TEXT: np.ones(COUNT, np.bool_)})
    return ItemFeatures.fit(frozen, TABLE, ["item_id"], ["title"]).to_bytes()


def profiles() -> bytes:
    columns = columns_of(TABLE, ["item_id", "title"])
    width = sum(one.width for one in columns)
    return ProfileModel(columns, np.zeros(width, np.float32), np.ones((width, 7), np.float32), 0.5, ()).to_bytes()


def stage() -> bytes:
    facts = ItemStatistics.of(drawn(20), COUNT)
    sources: list[Source] = [*space_sources(SPACE), Popular("popular", facts.counts)]
    features = StageFeatures(sources, {}, facts)
    width = len(features.features)
    ones = np.ones(width, np.float32)
    head = NeuralHead(ones, ones, ones, np.ones((width, 2), np.float32), ones[:2], ones[:2])
    return SecondStage(features, head, SPACE.indexed).to_bytes()


def recall_check() -> bytes:
    exact = np.zeros((3, 2), np.int64)
    return save({"text.vectors": VECTORS[:3], "text.exact": exact, "text.recall": np.ones(1, np.float32)})


PARTS: dict[str, tuple[Callable[[], bytes], Callable[[bytes], Any]]] = {
    "adapter": (adapter, lambda data: Adapter.from_bytes(data, 6)),
    "behaviour": (lambda: random_block().to_bytes(), Behaviour.from_bytes),
    "description": (description, ItemFeatures.from_bytes),
    "profiles": (profiles, ProfileModel.from_bytes),
    "second stage": (stage, lambda data: SecondStage.from_bytes(data, SPACE, {})),
    "sample of queries": (recall_check, RecallCheck.from_bytes),
}


@pytest.fixture(scope="module", params=PARTS)
def part(request: pytest.FixtureRequest) -> tuple[bytes, Callable[[bytes], Any]]:
    make, read = PARTS[request.param]
    data = make()
    read(data)  # as it was written it is read
    return data, read


Part = tuple[bytes, Callable[[bytes], Any]]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9, 0.999])
def test_what_is_cut_short_is_refused(part: Part, share: float) -> None:
    data, read = part
    with pytest.raises(DamagedFileError, match="cannot be read"):
        read(data[: int(share * len(data))])


def test_what_lacks_a_tensor_is_refused(part: Part) -> None:
    data, read = part
    tensors = load(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    name = next(name for name in sorted(tensors) if "mean" not in name and name != "amounts")  # as in earlier states
    with pytest.raises(DamagedFileError, match=r"cannot be read|expected|fit"):
        read(save({k: v for k, v in tensors.items() if k != name}, header.get("__metadata__")))


def test_numbers_where_there_is_a_matrix_are_refused(part: Part) -> None:
    data, read = part
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    with pytest.raises(DamagedFileError, match=r"cannot be read|of shapes"):
        read(save({name: np.array(3.0) for name in load(data)}, header.get("__metadata__")))


def test_trees_that_lightgbm_refuses_are_damaged() -> None:
    pytest.importorskip("lightgbm")
    with pytest.raises(DamagedFileError, match="trees of the second stage cannot be read"):
        TreesHead("nothing of the kind")
