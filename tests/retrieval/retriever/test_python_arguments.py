"""Arguments of the wrong kind: typed errors that name the position and the way out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.edits.edit import delete
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.item_ids import ItemIds
from indexing.encoders import load_encoder
from indexing.errors import CatalogueError, InputError, UnknownItemError
from indexing.exchange.array_files import read_array
from indexing.index import FlatIndex
from indexing.index.backends.faiss import FaissIndex
from indexing.index.backends.ivf import IvfIndex
from indexing.index.backends.sharded import ShardedIndex
from indexing.index.base import VectorIndex
from retrieval import Candidates, Interactions, Profiles, evaluate
from retrieval.fitting.fit import fit
from retrieval.postprocess.rules import Boost
from retrieval.retriever.recommend import user_queries
from retrieval.retriever.retriever import Retriever
from tests.groups import walks
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
def test_numbers_for_ids_say_that_ids_are_texts(retriever: Retriever, given: object) -> None:
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


def found(retriever: Retriever) -> Candidates:
    return retriever.search_texts(["red mug"])


measured: Any = evaluate


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda one: one.recommend({"1": ["2"]}), "histories is {'1': .* of type dict, expected a list"),
        (lambda one: one.recommend([["1"], {"i1": 5}]), r"histories\[1\] is {'i1': 5} of type dict, expected a list"),
        (lambda one: one.recommend([{"1", "2"}]), r"histories\[0\] is .* of type set, expected a list"),
        (lambda one: one.recommend([["1"]], user_ids=None), "user_ids is None of type NoneType, expected a list"),
        (lambda one: one.recommend([["1"], ["2"]], user_ids=["a", 7]), r"user_ids\[1\] is 7 of type int; give texts"),
        (lambda one: one.recommend([["1"]], weights=[[10**400, 1]]), r"weights\[0\] are \[1000"),
        (lambda one: one.recommend([["1"]], exclude_seen="no"), "exclude_seen is 'no' of type str; give True or False"),
        (
            lambda one: one.recommend([["1"]], min_relevance="few"),
            "min_relevance is 'few' of type str; give a number, or None",
        ),
        (lambda one: one.search_vectors("x"), r"queries is 'x' of type str; give \(N, 16\) finite numbers"),
        (lambda one: one.search_vectors({}), "queries is {} of type dict; give"),
        (lambda one: one.search_vectors([["1"] * 16]), r"queries is \[\['1', .* of type list; give"),
        (lambda one: one.search_images({"a": 1}), "images is {'a': 1} of type dict, expected a list"),
        (lambda one: one.search_vectors(np.ones((1, 16)), modality=3), "modality is 3 of type int; give one of text"),
        (
            lambda one: user_queries(one.state, [["1"]]),  # type: ignore[list-item]
            r"histories\[0\] is \['1'\] of type list; give the rows of items",
        ),
        (
            lambda one: user_queries(one.state, [[1], [2, 99]]),  # type: ignore[list-item]
            r"histories\[1\] is \[2, 99\] of type list; give rows from 0",
        ),
        (lambda one: user_queries(one.state, [[1.5]]), r"histories\[0\] is \[1\.5\]"),  # type: ignore[list-item]
        (
            lambda one: one.rerank(None),
            "candidates is None of type NoneType; give the result of a search, recommend or",
        ),
        (lambda one: one.nearest_parts([]), r"candidates is \[\] of type list; give the result"),
        (lambda one: one.explain("x"), "candidates is 'x' of type str"),
        (lambda one: one.verdicts(3), "candidates is 3 of type int"),
        (lambda one: one.verdicts(found(one), kind=[]), r"kind is \[\] of type list; give 'text'"),
        (
            lambda one: one.blend(found(one), None),
            "weights is None .*; give names and values, as {'margin'",
        ),
        (lambda one: one.blend(found(one), {3: 1.0}), "weights names 3; give names as texts"),
        (lambda one: one.apply_rules(found(one), None), "rules is None of type NoneType, expected a list"),
        (lambda one: one.apply_rules(found(one), Boost("price > 3", by=0.1)), "rules is Boost.* a list"),
        (lambda one: one.diversify(found(one), 2.5), r"k is 2\.5; give a whole number"),
        (lambda one: one.diversify(found(one), page="2"), "a page of '2' of type str shows nothing"),
        (
            lambda one: one.diversify(found(one), strength=None),
            "a strength of None of type NoneType; give",
        ),
        (lambda one: one.diversify(found(one), sharpness=10**400), "a sharpness of 1000"),
        (
            lambda one: one.diversify(found(one), max_similarity="x"),
            "max_similarity is 'x' of type str; give a cosine",
        ),
        (lambda one: one.diversify(found(one), caps=["tags"]), r"caps is \['tags'\] .*, as {'brand': 2}"),
        (lambda one: one.diversify(found(one), attribute=3), "attribute is 3 of type int; give the name"),
        (lambda one: one.diversify(found(one), shown=[]), r"shown is \[\] of type list; give the result"),
        (lambda one: one.diversify(found(one), exposure_weight="x"), "an exposure weight of 'x' of type str; give 0"),
        (lambda one: one.items.rows("ab"), "item_ids is 'ab' of type str; give a list, even of one"),
        (lambda one: ItemIds("ab"), "item_ids is 'ab' of type str; give a list, even of one"),
        (lambda one: measured(None, []), "candidates is None of type NoneType"),
        (lambda one: measured(found(one), None), "relevant is None of type NoneType, expected a list"),
        (lambda one: measured(found(one), [None]), r"relevant\[0\] is None .*; give the item_ids"),
        (
            lambda one: measured(found(one), [[1]]),
            r"relevant\[0\] holds 1 of type int; item ids are texts",
        ),
        (
            lambda one: measured(found(one), [["1"]], measures="recall@10"),
            "single value 'recall@10'; give a",
        ),
        (
            lambda one: found(one).take([3]),
            r"positions is array\(\[3\]\) of type ndarray; give positions among 1 queries",
        ),
    ],
)
def test_each_verb_names_the_parameter_the_place_and_the_value(
    retriever: Retriever, ask: Callable[[Retriever], object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ask(retriever)


PATHS: list[tuple[Callable[[Any], object], str]] = [
    (Retriever.load, "the folder of the bundle"),
    (lambda path: fit(path, walks(3)), "the folder of the bundle"),
    (lambda path: delete(path, ["1"]), "the folder of the bundle"),
    (Interactions.open, "path"),
    (Interactions.from_csv, "path"),
    (Interactions.from_parquet, "path"),
    (Profiles.open, "path"),
    (Catalogue.open, "path"),
    (Catalogue.from_csv, "path"),
    (Catalogue.from_image_folder, "folder"),
    (Catalogue.from_webdataset, "source"),
]


@pytest.mark.parametrize(("read", "name"), PATHS)
def test_what_is_no_path_is_refused(read: Callable[[Any], object], name: str) -> None:
    for given, description in ((3, "3 of type int"), (None, "None of type NoneType"), ({}, "{} of type dict")):
        with pytest.raises(InputError, match=f"{name} is {description}; give a path, as text or pathlib.Path"):
            read(given)
    with pytest.raises(InputError, match="with a zero character"):
        read("a\0b")


def test_an_encoder_is_named_by_a_text() -> None:
    with pytest.raises(InputError, match="the name of the encoder is 3 of type int; give one as text, as 'pocket'"):
        load_encoder(3)  # type: ignore[arg-type]


def test_what_is_taken_is_taken_still(retriever: Retriever) -> None:
    """Numpy's numbers, arrays, tuples and 0 or 1 for False or True."""
    given: Any = np.array(["1", "2"])
    answers = retriever.recommend([("1", "2"), given], exclude_seen=0, user_ids=np.array(["a", "b"]))  # type: ignore[arg-type]
    assert answers.query_ids == ("a", "b")
    assert answers[0] == answers[1]
    varied = retriever.diversify(answers, np.int64(2), strength=np.float32(0.5), page=np.int32(1))  # type: ignore[arg-type]
    assert varied.rows.shape == (2, 2)
    picked: Any = np.array([1])
    assert answers.take(picked).query_ids == ("b",)


class DataFrame:
    """Stands for any table that is none of ours."""


def test_building_and_fitting_say_what_they_take(tmp_path: Path) -> None:
    catalogue = Catalogue.from_parquet(toy_file(tmp_path))
    with pytest.raises(InputError, match=r"catalogue is a DataFrame; open a file or folder with Catalogue\.open"):
        build_bundle(DataFrame(), ToyEncoder(), tmp_path / "b")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="encoder is 5 of type int; give what load_encoder gives"):
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


@pytest.mark.parametrize(
    ("former", "current"),
    [
        (
            lambda one: one.recommend([["1"]], 3, weights=[[2]], least=3),
            lambda one: one.recommend([["1"]], 3, weights=[[2]], min_relevance=3),
        ),
        (
            lambda one: one.diversify(found(one), method="caps", apart=0.3),
            lambda one: one.diversify(found(one), method="caps", max_similarity=0.3),
        ),
        (
            lambda one: one.diversify(found(one), shown=found(one), spread=2.0),
            lambda one: one.diversify(found(one), shown=found(one), exposure_weight=2.0),
        ),
    ],
)
def test_former_names_of_arguments_do_the_same(
    retriever: Retriever, former: Callable[[Retriever], Candidates], current: Callable[[Retriever], Candidates]
) -> None:
    expected = current(retriever)
    with pytest.warns(FutureWarning, match="is called"):
        answers = former(retriever)
    np.testing.assert_array_equal(answers.rows, expected.rows)
    np.testing.assert_array_equal(answers.scores, expected.scores)
