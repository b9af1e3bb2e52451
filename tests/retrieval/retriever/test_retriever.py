"""The verbs against answers that are known by construction or from exact search."""

from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from indexing.arrays import Vectors
from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.errors import EncoderMismatchError, FilterError, InputError, ShapeError, UnknownItemError, VectorError
from retrieval.candidates import Candidates
from retrieval.filters import field
from retrieval.retriever import search
from retrieval.retriever.retriever import Retriever
from tests.agree import assert_lists_agree
from tests.toy import ToyEncoder, picture, toy_file


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    folder = tmp_path_factory.mktemp("toy")
    build_bundle(Catalogue.from_parquet(toy_file(folder)), ToyEncoder(), folder / "bundle")
    return Retriever.load(folder / "bundle", ToyEncoder())


def ids(candidates: Candidates, query: int = 0) -> list[str]:
    return [hit.item_id for hit in candidates[query]]


def exact(retriever: Retriever, query: Vectors) -> list[str]:
    return [retriever.items[row] for row in np.argsort(-(retriever.vectors @ query), kind="stable")]


def test_load_is_another_name_of_open(retriever: Retriever) -> None:
    root = retriever.bundle.root
    assert ids(Retriever.open(root, ToyEncoder()).search_texts(["red shoe"], k=1)) == ["red-shoe"]
    assert ids(Retriever.load(root, ToyEncoder()).search_texts(["red shoe"], k=1)) == ["red-shoe"]


def test_texts_find_their_items(retriever: Retriever) -> None:
    found = retriever.search_texts(["red shoe", "white lamp"], k=3)
    assert ids(found, 0)[0] == "red-shoe"
    assert ids(found, 1)[0] == "white-lamp"
    query = ToyEncoder().encode_texts(["red shoe"])[0]
    assert ids(found, 0) == exact(retriever, query)[:3]
    np.testing.assert_allclose(found.scores[0], np.sort(retriever.vectors @ query)[::-1][:3], rtol=1e-5)


def test_search_takes_texts(retriever: Retriever) -> None:
    where = "price > 10"
    found = retriever.search(["red shoe", "white lamp"], k=3, where=where)
    expected = retriever.search_texts(["red shoe", "white lamp"], k=3, where=where)
    assert [ids(found, query) for query in (0, 1)] == [ids(expected, query) for query in (0, 1)]
    np.testing.assert_array_equal(found.scores, expected.scores)  # the same path


def test_a_search_checks_its_texts_and_makes_its_candidates_once(
    retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(module: object, name: str) -> None:
        plain = getattr(module, name)

        def call(*args: object) -> object:
            calls.append(name)
            return plain(*args)

        monkeypatch.setattr(module, name, call)

    counted(Candidates, "__post_init__")
    counted(search, "check_texts")
    retriever.search_texts(["red shoe"])
    assert sorted(calls) == ["__post_init__", "check_texts"]


def test_search_refuses_an_unknown_mode(retriever: Retriever) -> None:
    with pytest.raises(InputError, match="mode"):
        retriever.search(["red shoe"], mode="telepathy")  # type: ignore[arg-type]


def test_the_example_of_the_class_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shoes = "item_id,title\nmug-1,blue mug\nshoe-3,red canvas shoes\nlamp-2,a lamp\n"
    (tmp_path / "shop.csv").write_text(shoes)
    build_bundle(Catalogue.from_csv(tmp_path / "shop.csv"), load_encoder("pocket"), tmp_path / "bundles" / "shop")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"Retriever": Retriever}
    exec(dedent((Retriever.__doc__ or "").split("Example::")[1]), names)  # noqa: S102 - our own lines
    assert [(hit.item_id, hit.rank) for hit in names["hits"][:1]] == [("shoe-3", 1)]
    assert len(names["hits"]) == 3


def test_pictures_find_items_of_their_colour(retriever: Retriever, tmp_path: Path) -> None:
    path = tmp_path / "blue.png"
    path.write_bytes(picture("blue", 30))
    for given in (picture("blue", 30), path, str(path)):
        assert {item.split("-")[0] for item in ids(retriever.search_images([given], k=5))} == {"blue"}
    with pytest.raises(InputError, match=r"query picture 1: image is none of JPEG"):
        retriever.search_images([picture("red"), b"nothing"])
    with pytest.raises(InputError, match=r"query picture 0: image file is missing: .*gone.png"):
        retriever.search_images([tmp_path / "gone.png"])


@pytest.mark.parametrize("given", [None, 7, 2.5, ["a.png"]])
def test_what_is_no_picture_is_refused_with_its_position(retriever: Retriever, given: object) -> None:
    with pytest.raises(InputError, match=f"query picture 1 is of type {type(given).__name__}: give the bytes"):
        retriever.search_images([picture("red"), given])  # type: ignore[list-item]
    assert retriever.search_images([bytearray(picture("red"))], k=1)[0]  # type: ignore[list-item]


def test_similar_items_leave_out_the_item_itself(retriever: Retriever) -> None:
    found = retriever.similar_items(["green-mug", "white-book"], k=19)
    for line, item_id in enumerate(["green-mug", "white-book"]):
        order = exact(retriever, retriever.vectors[retriever.items.rows([item_id])[0]])
        assert ids(found, line) == [other for other in order if other != item_id]
    assert found.query_ids == ("green-mug", "white-book")


def test_recommendations_leave_out_what_was_seen(retriever: Retriever) -> None:
    history = ["red-mug", "red-lamp", "red-mug"]
    found = retriever.recommend([history, ["blue-book"]], k=18, user_ids=["u", "v"])
    taste = retriever.users.taste(retriever.vectors, [retriever.items.rows(history[1:])])[0]  # twice is once
    assert ids(found, 0) == [item for item in exact(retriever, taste) if item not in history]
    assert set(ids(found, 0)[:3]) == {"red-shoe", "red-book", "red-chair"}
    assert len(ids(found, 1)) == 18
    assert found.query_ids == ("u", "v")
    again = retriever.recommend([history], k=20, exclude_seen=False)
    assert set(history) < set(ids(again))


def test_filters_still_give_k_when_k_exist(retriever: Retriever) -> None:
    where = [("tags", "contains", "lamp"), ("price", ">", 22)]
    # The lamps are third: their prices are 20 plus the length of the colour's name, from 23 to 25.
    lamps = {"red-lamp", "green-lamp", "blue-lamp", "white-lamp"}
    assert set(ids(retriever.search_texts(["red mug"], k=4, where=where))) == lamps
    assert len(ids(retriever.search_texts(["red mug"], k=5, where=where))) == 4
    for same in (field("tags").contains("lamp") & (field("price") > 22), "tags contains lamp and not price <= 22"):
        assert set(ids(retriever.search_texts(["red mug"], k=5, where=same))) == lamps
        assert set(ids(retriever.similar_items(["red-mug"], k=5, where=same))) == lamps
    history = ["green-lamp"]
    found = retriever.recommend([history], k=3, where=where)
    assert len(ids(found)) == 3
    assert "green-lamp" not in ids(found)
    with pytest.raises(FilterError, match=r"there is no attribute 'prize'; did you mean one of \['price'\]"):
        retriever.search_texts(["x"], where=[("prize", ">", 3)])


def test_batch_equals_one_by_one_and_large_k_gives_all(retriever: Retriever) -> None:
    texts = ["red mug", "blue", "chair"]
    batch = retriever.search_texts(texts, k=5)
    assert [ids(batch, line) for line in range(3)] == [ids(retriever.search_texts([text], k=5)) for text in texts]
    assert len(ids(retriever.search_texts(["red"], k=10_000))) == 20
    assert len(retriever.search_texts([], k=5)) == 0


def test_a_text_that_looks_like_a_path_stays_a_text(retriever: Retriever, tmp_path: Path) -> None:
    path = tmp_path / "blue.png"
    path.write_bytes(picture("blue"))
    encoder = ToyEncoder()
    expected = exact(retriever, encoder.encode_texts([str(path)])[0])
    assert ids(retriever.search_texts([str(path)], k=5)) == expected[:5]


def test_what_cannot_be_asked_is_refused(retriever: Retriever) -> None:
    with pytest.raises(UnknownItemError, match=r"1 of 2 item ids are not in this bundle, e\.g\. 'mug-9'"):
        retriever.similar_items(["red-mug", "mug-9"])
    with pytest.raises(InputError, match="texts is the single value 'red mug'; give a list"):
        retriever.search_texts("red mug")
    with pytest.raises(InputError, match="expected a whole number of at least 1"):
        retriever.search_texts(["red"], k=0)
    with pytest.raises(ShapeError, match=r"queries have shape \(1, 3\), expected \(N, 16\)"):
        retriever.search_vectors(np.ones((1, 3), np.float32))
    with pytest.raises(VectorError, match="NaN or infinity"):
        retriever.search_vectors(np.full((1, 16), np.nan, np.float32))
    with pytest.raises(EncoderMismatchError, match="was built by encoder"):
        Retriever(retriever.bundle, ToyEncoder(salt="other"))


@pytest.mark.parametrize("k", [-1, -7, 2.5, True, "3"])
def test_what_is_kept_of_an_order_is_a_whole_number(retriever: Retriever, k: Any) -> None:  # noqa: ANN401
    found = retriever.search_texts(["red shoe"], k=6)
    with pytest.raises(InputError, match=r"k is .* a whole number of at least 0"):
        retriever.rerank(found, k=k)
    with pytest.raises(InputError, match=r"k is .* a whole number of at least 0"):
        retriever.apply_rules(found, [], k=k)
    assert retriever.rerank(found, k=0).rows.shape == (1, 0)
    assert ids(retriever.rerank(found, k=60)) == ids(found)


def test_reranking_without_a_head_orders_by_exact_score(retriever: Retriever) -> None:
    found = retriever.search_texts(["red shoe"], k=6)
    shuffled = replace(found, rows=found.rows[:, ::-1], scores=np.zeros_like(found.scores))
    ranked = retriever.rerank(shuffled, k=4)
    assert_lists_agree((ranked.scores, ranked.rows), (found.scores[:, :4], found.rows[:, :4]))
    assert ranked.stage == "exact"  # no head was learned


def test_no_filter_is_none_or_nothing(retriever: Retriever) -> None:
    wanted = retriever.search_texts(["red shoe"], k=4)
    nothing: list[Any] = [None, (), []]
    for where in nothing:
        found = retriever.search_texts(["red shoe"], k=4, where=where)
        np.testing.assert_array_equal(found.rows, wanted.rows)
