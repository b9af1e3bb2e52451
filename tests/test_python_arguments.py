"""Arguments of the wrong kind: typed errors that name the position and the way out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexing.build import build_bundle
from indexing.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.errors import CatalogueError, InputError, UnknownItemError
from indexing.exchange.folders import read_array
from indexing.index import FlatIndex
from indexing.index.base import VectorIndex
from indexing.index.faiss import FaissIndex
from indexing.index.ivf import IvfIndex
from indexing.index.shards import ShardedIndex
from retrieval.fit import fit
from retrieval.retriever import Retriever
from tests.toy import ToyEncoder, toy_file, toy_table

VECTORS = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    folder = tmp_path_factory.mktemp("toy")
    table = toy_table()
    table = table.set_column(0, "item_id", [[str(number) for number in range(len(table))]])
    import pyarrow.parquet as pq

    pq.write_table(table, folder / "items.parquet")
    build_bundle(Catalogue.from_parquet(folder / "items.parquet"), ToyEncoder(), folder / "bundle")
    return Retriever.load(folder / "bundle", ToyEncoder())


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", None], "text 1 is None of type NoneType, expected a str"),
        (["a", float("nan")], "text 1 is nan of type float, expected a str"),
        ([5], "text 0 is 5 of type int"),
        ([b"red"], "text 0 is b'red' of type bytes"),
        (5, "texts is 5 of type int, expected a list"),
        (None, "texts is None of type NoneType, expected a list"),
        ("red", "texts is the single value 'red'; give a list"),
        (["red", ""], "text 1 is '', in which there is nothing to search for; leave it out"),
        (["   "], "text 0 is '   ', in which"),
        (["\x00"], r"text 0 is '\\x00', in which"),
        (["a", "\u200b\t"], "text 1 is .* in which"),
    ],
)
def test_texts_that_are_none_are_refused_with_their_position(
    retriever: Retriever, texts: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        retriever.search_texts(texts)


@pytest.mark.parametrize(("texts", "message"), [([None], "text 0 is None"), ([["a"]], "text 0 is "), ("a", "single")])
def test_encoders_name_the_text_that_is_none(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_encoder("pocket").encode_texts(texts)


def kinds() -> dict[str, VectorIndex]:
    parts: list[VectorIndex] = [IvfIndex.build(VECTORS[:200]), FaissIndex.flat(VECTORS[200:])]
    return {
        "flat": FlatIndex(VECTORS),
        "faiss-flat": FaissIndex.flat(VECTORS),
        "faiss-hnsw": FaissIndex.hnsw(VECTORS),
        "refined": FaissIndex.hnsw(VECTORS, codec="sq8"),
        "faiss-ivf": IvfIndex.build(VECTORS),
        "faiss-sharded": ShardedIndex(parts),
    }


@pytest.mark.filterwarnings("ignore")
def test_a_whole_number_of_numpy_is_a_k_for_every_kind_of_index() -> None:
    allow = np.arange(400) % 3 == 0
    k: Any
    for kind, index in kinds().items():
        for mask in (None, allow):
            expected = index.search(VECTORS[:5], 3, mask)[1]
            for k in (np.int64(3), np.int32(3), np.uint8(3)):
                np.testing.assert_array_equal(index.search(VECTORS[:5], k, mask)[1], expected, err_msg=kind)
        for k in (True, 2.5, float("nan"), np.float64(3), np.bool_(True), "3", None, 0, -1, np.int64(0)):
            with pytest.raises(InputError, match="expected a whole number of at least 1"):
                index.search(VECTORS[:5], k)


@pytest.mark.parametrize("k", [True, 2.5, float("nan"), np.float32(2), "3", None, 0, -4])
def test_every_verb_refuses_another_k(retriever: Retriever, k: int) -> None:
    asks: tuple[Callable[[], object], ...] = (
        lambda: retriever.search_texts(["red"], k=k),
        lambda: retriever.similar_items(["1"], k=k),
        lambda: retriever.recommend([["1"]], k=k),
    )
    for ask in asks:
        with pytest.raises(InputError, match="expected a whole number of at least 1"):
            ask()
    two: Any = np.int64(2)
    assert retriever.similar_items(["1"], k=two).rows.shape == (1, 2)


@pytest.mark.parametrize("given", [1, np.int64(1)])
def test_numbers_for_ids_are_told_that_ids_are_texts(retriever: Retriever, given: object) -> None:
    message = r"item ids are texts: (1|np\.int64\(1\)) is not in this bundle, but '1' is; give text"
    ids: Any = [given]
    with pytest.raises(UnknownItemError, match=message):
        retriever.similar_items(ids)
    with pytest.raises(UnknownItemError, match=message):
        retriever.recommend([ids])
    with pytest.raises(UnknownItemError, match=r"ids are not in this bundle, e\.g\. 1\.5; did you mean '15'\?; check"):
        retriever.similar_items([1.5])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("histories", "weights", "message"),
    [
        (None, None, "histories is None of type NoneType, expected a list"),
        ([None], None, r"histories\[0\] is None of type NoneType, expected a list"),
        ([["1"], 5], None, r"histories\[1\] is 5 of type int"),
        ([["1"]], [1.0], r"weights\[0\] is 1\.0 of type float, expected a list"),
        ([["1"]], 1.0, r"weights is 1\.0 of type float"),
        ([["1"]], [["many"]], r"weights\[0\] are \['many'\], expected a number for each item"),
        ([["1"]], [[1.0], [2.0]], "2 weights for 1 histories"),
    ],
)
def test_histories_and_weights_of_another_kind_are_refused(
    retriever: Retriever, histories: list[list[str]], weights: list[list[float]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        retriever.recommend(histories, weights=weights)


class DataFrame:
    """Stands for any table that is none of ours."""


def test_building_and_fitting_say_what_they_take(tmp_path: Path) -> None:
    catalogue = Catalogue.from_parquet(toy_file(tmp_path))
    with pytest.raises(InputError, match=r"catalogue is a DataFrame; open a file or folder with Catalogue\.open"):
        build_bundle(DataFrame(), ToyEncoder(), tmp_path / "b")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="encoder is a int; give what load_encoder gives"):
        build_bundle(catalogue, 5, tmp_path / "b")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"interactions are a DataFrame; open a file by Interactions\.open"):
        fit(tmp_path / "b", DataFrame())  # type: ignore[arg-type]
    given: Any
    for given in ({"text": "title"}, ["title"]):
        with pytest.raises(InputError, match=rf"columns are given as {type(given).__name__}; give Columns\("):
            Catalogue.from_dataset(object(), columns=given)
        with pytest.raises(InputError, match=rf"columns are given as {type(given).__name__}; give Columns\("):
            Catalogue.from_csv(tmp_path / "x.csv", columns=given)
        with pytest.raises(InputError, match=rf"columns are given as {type(given).__name__}; give Columns\("):
            Catalogue.from_parquet(tmp_path / "items.parquet", columns=given)
    assert not (tmp_path / "b").exists()


def test_an_encoder_may_be_named(tmp_path: Path) -> None:
    bundle = build_bundle(Catalogue.from_parquet(toy_file(tmp_path)), "pocket", tmp_path / "bundle")
    assert bundle.manifest.encoder.name == "pocket"


@pytest.mark.parametrize("shape", [(1_000_000_000, 512), (2**40, 3), (-1, 4)])
def test_an_array_that_claims_more_than_there_is_is_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64)
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(CatalogueError, match=r"a\.npy cannot be read as an array"):
        read_array(tmp_path / "a.npy")
