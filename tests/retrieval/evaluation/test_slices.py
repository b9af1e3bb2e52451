"""Slices of queries and of items, by hand; and the groups that a bundle and a log make."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import FilterError, InputError, ShapeError
from retrieval.candidates import Candidates
from retrieval.evaluation import Evaluation, evaluate, item_groups, item_slices, slices, user_groups
from retrieval.evaluation.statistics import bootstrap_intervals
from retrieval.interactions.interactions import Interactions
from tests.toy import ToyEncoder, toy_file

ITEMS = ItemIds([*"abcdef"])


def log(pairs: str) -> Interactions:
    """Pairs of a user and an item, one letter each, but for items of the toy catalogue."""
    users, items = zip(*(pair.split(":") for pair in pairs.split()), strict=True)
    return Interactions.from_arrow(pa.table({"user": list(users), "item": list(items)}))


def candidates(lines: list[list[int]]) -> Candidates:
    rows = np.array(lines, np.int64)
    scores = np.tile(-np.arange(rows.shape[1], dtype=np.float32), (len(rows), 1))
    return Candidates(np.zeros((len(rows), 2), np.float32), rows, scores, ITEMS, "retrieve")


def test_slices_of_queries() -> None:
    values = {"mrr@5": np.array([1.0, 0.5, 0.0, 0.25]), "recall@5": np.array([1.0, 0.0, 0.0, 1.0])}
    found = Evaluation(tuple("abcd"), values, {}, 0)
    rows = slices(found, {"history": {"heavy": {"a", "c", "elsewhere"}, "light": {"b"}, "absent": {"z"}}}, seed=4)
    assert [(row.name, row.value, row.queries) for row in rows] == [
        ("history", "heavy", 2),
        ("history", "light", 1),
        ("history", "(none)", 1),
    ]
    assert [row.means for row in rows] == [
        {"mrr@5": 0.5, "recall@5": 0.5},
        {"mrr@5": 0.5, "recall@5": 0.0},
        {"mrr@5": 0.25, "recall@5": 1.0},
    ]
    low, high = bootstrap_intervals(np.array([[1.0], [0.0]]), seed=4)[0]
    assert rows[0].intervals["mrr@5"] == (low, high) == (0, 1)
    assert np.isnan(rows[1].intervals["mrr@5"]).all()  # one query tells nothing about others
    assert json.loads(json.dumps(rows[1].to_json(), allow_nan=False))["intervals"]["mrr@5"] == [None, None]


def test_slices_by_one_value_a_query_or_by_several() -> None:
    found = Evaluation(tuple("abc"), {"mrr@5": np.array([1.0, 0.5, 0.0])}, {}, 0)
    rows = slices(found, {"colour": ["red", "blue", "red"], "genre": {"war": {"a", "b"}, "drama": {"b", "c"}}})
    assert [(row.name, row.value, row.queries, row.means["mrr@5"]) for row in rows] == [
        ("colour", "blue", 1, 0.5),
        ("colour", "red", 2, 0.5),
        ("genre", "war", 2, 0.75),
        ("genre", "drama", 2, 0.25),
    ]
    with pytest.raises(ShapeError, match="'colour' has 2 values for 3 queries"):
        slices(found, {"colour": ["red", "blue"]})


def test_slices_of_items() -> None:
    found = candidates([[0, 1, 2], [3, 4, 5], [0, 5, 1]])
    relevant = [{"a", "d", "gone"}, {"d", "e", "a"}, {"b"}]
    groups = {"item": {"warm": {"a", "b"}, "cold": {"d", "e"}, "lonely": {"f"}}}
    rows = item_slices(found, relevant, groups, measures=["recall@1", "recall@3", "hit_rate@3"])
    assert [(row.value, row.queries, row.relevant) for row in rows] == [
        ("warm", 3, 3),
        ("cold", 2, 3),
        ("(none)", 1, 1),
    ]
    # Warm: a found at rank 1; a not found; b found at rank 3. Cold: d not found; d at rank 1 and e at rank 2.
    assert rows[0].means == {
        "recall@1": pytest.approx(1 / 3),
        "recall@3": pytest.approx(2 / 3),
        "hit_rate@3": pytest.approx(2 / 3),
    }
    assert rows[1].means == {"recall@1": 0.25, "recall@3": 0.5, "hit_rate@3": 0.5}
    assert rows[2].means == {"recall@1": 0, "recall@3": 0, "hit_rate@3": 0}


def test_slices_of_items_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(0)
    found = candidates([rng.permutation(6)[:4].tolist() for _ in range(50)])
    relevant = [{ITEMS[row] for row in rng.choice(6, rng.integers(1, 5), replace=False).tolist()} for _ in range(50)]
    groups = {"half": {"first": set("abc"), "second": set("def")}}
    whole = evaluate(found, relevant, measures=["recall@2"]).per_query["recall@2"]
    hits = sum(value * len(ids) for value, ids in zip(whole, relevant, strict=True))
    parts = 0.0
    for value, members in groups["half"].items():
        cut = [ids & members for ids in relevant]
        some = [line for line, ids in enumerate(cut) if ids]
        one = evaluate(found.take(some), [cut[line] for line in some], measures=["recall@2"])
        (row,) = [row for row in item_slices(found, relevant, groups, measures=["recall@2"]) if row.value == value]
        assert row.means == one.means
        assert row.intervals["recall@2"] == one.interval("recall@2")
        assert row.relevant == sum(map(len, cut))
        parts += sum(v * len(cut[line]) for v, line in zip(one.per_query["recall@2"], some, strict=True))
    assert parts == pytest.approx(hits)


def test_measures_without_meaning_for_a_part_are_refused() -> None:
    with pytest.raises(InputError, match="'ndcg@5', 'mrr@5' has no meaning for a part"):
        item_slices(candidates([[0]]), [{"a"}], {}, measures=["recall@5", "ndcg@5", "mrr@5"])
    with pytest.raises(ShapeError, match="2 collections of relevant items for 1 queries"):
        item_slices(candidates([[0]]), [{"a"}, {"b"}], {})


def test_users_are_distinguished_by_how_many_items_they_met() -> None:
    past = log("u:a u:b u:c v:a v:b w:a w:a w:a x:a x:b x:c x:d")
    assert user_groups(past) == {"history": {"light": {"v", "w"}, "heavy": {"u", "x"}}}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("toy")
    return build_bundle(Catalogue.from_parquet(toy_file(folder)), ToyEncoder(), folder / "bundle")


def test_items_are_distinguished_by_past_modality_and_attribute(bundle: Bundle) -> None:
    past = log("u:red-mug v:red-mug w:red-mug u:red-shoe v:red-shoe u:blue-mug w:white-mug u:gone")
    groups = item_groups(bundle, past, attributes=["tags", "price"])
    warm = {"red-mug", "red-shoe", "blue-mug", "white-mug"}
    assert groups["item"] == {"warm": warm, "cold": set(bundle.items) - warm}
    # Half of seven is 3.5: red-mug with 3 is not enough, with red-shoe it is 5.
    assert groups["popularity"] == {"popular": {"red-mug", "red-shoe"}, "tail": {"blue-mug", "white-mug"}}
    exactly = item_groups(bundle, past, popular=3 / 7)["popularity"]
    assert exactly == {"popular": {"red-mug"}, "tail": {"red-shoe", "blue-mug", "white-mug"}}
    white = {item for item in bundle.items if item.startswith("white")}
    assert groups["image"] == {"with image": set(bundle.items) - white, "without image": white}
    assert groups["text"] == {"with text": set(bundle.items), "without text": set()}
    assert groups["tags"]["lamp"] == {"red-lamp", "green-lamp", "blue-lamp", "white-lamp"}
    assert groups["tags"]["red"] == {item for item in bundle.items if item.startswith("red")}
    assert groups["price"]["3"] == {"red-mug"}
    with pytest.raises(InputError, match="popular is 1; give a fraction"):
        item_groups(bundle, past, popular=1)
    with pytest.raises(FilterError, match="there is no attribute 'tag'"):
        item_groups(bundle, past, attributes=["tag"])


def test_a_text_of_several_values_is_in_the_slice_of_each(tmp_path: Path) -> None:
    table = pa.table({"item_id": ["a", "b", "c"], "text": [*"xyz"], "genres": ["Drama|War", "War", None]})
    films = build_bundle(Catalogue.from_arrow(table), ToyEncoder(), tmp_path / "films")
    groups = item_groups(films, log("u:a"), attributes=["genres"])
    assert groups["genres"] == {"Drama": {"a"}, "War": {"a", "b"}}
