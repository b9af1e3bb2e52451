"""Columns of the context: how a log has them, how requests give them, and what is learned of items in them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, InteractionsError
from retrieval import Interactions
from retrieval.interactions.cleaning import PrepareConfig, prepare
from retrieval.interactions.context import (
    Context,
    ContextColumns,
    ContextWarning,
    joined_context,
    range_edges,
    rare_values,
    request_context,
)
from retrieval.interactions.histories import History, histories, hold_out_last
from retrieval.models.user_model import UserModel
from retrieval.ranking.context_affinity import ContextAffinity
from retrieval.training.cutoffs import Cutoff

DAY = 86_400
ONE = {"device": ("phone", "desk")}
COLUMNS = {"device": ("phone", "desk"), "floor": ("1",)}
LOG: dict[str, list[Any]] = {
    "user": ["b", "a", "a", "a", "b"],
    "item": ["mug", "cup", "jar", "mug", "cup"],
    "time": [5 * DAY, 3 * DAY + 7_200, 1 * DAY, 2 * DAY, 4 * DAY],
    "device": ["tv", "phone", "", None, "phone"],
    "floor": [1.0, 2.5, 1.0, 2.0, None],
}


def read(context: Sequence[str] = ()) -> Interactions:
    return Interactions.from_arrow(pa.table(LOG), context=context)


def test_a_log_keeps_columns_as_text_in_its_order(tmp_path: Path) -> None:
    log = read(context=["device", "floor", "utc_hour", "utc_weekday"])
    assert log.context_columns == ["device", "floor", "utc_hour", "utc_weekday"]
    assert log.table.select(log.context_columns).to_pydict() == {
        "device": ["", "", "phone", "phone", "tv"],
        "floor": ["1", "2", "2.5", "", "1"],
        "utc_hour": ["0", "0", "2", "0", "0"],
        "utc_weekday": ["friday", "saturday", "sunday", "monday", "tuesday"],
    }
    assert read().context_columns == []
    table = pa.table({name: [str(value) for value in LOG[name]] for name in ("user", "item", "time", "device")})
    lines = [",".join(table.column_names), *(",".join(row.values()) for row in table.to_pylist())]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    assert Interactions.open(tmp_path / "log.csv", context=["device"]).table["device"].to_pylist()[2:] == [
        "phone",
        "phone",
        "tv",
    ]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["phone"], "there is no column 'phone' for the context; the columns are"),
        (["weight"], "context names 'weight', which the log has anyway"),
        ("device", "context"),
        (["item"], "the column 'item' of the context is the item_id of the log"),
        (["user"], "the column 'user' of the context is the user_id of the log"),
        (["time"], "the column 'time' of the context is the timestamp of the log"),
        (["rating"], "the column 'rating' of the context is the weight of the log"),
        (["device", "floor", "device"], "context has more than one column named 'device'"),
    ],
)
def test_columns_that_cannot_be_the_context(names: Sequence[str], text: str) -> None:
    with pytest.raises(InputError, match=text):
        Interactions.from_arrow(pa.table(LOG | {"rating": [1, 2, 3, 4, 5]}), context=names)


def test_numbers_that_are_none() -> None:
    floors = [float("nan"), 1e20, 0.5, -3.0, None]
    log = Interactions.from_arrow(pa.table(LOG | {"floor": floors, "time": [1, 2, 3, 4, 5]}), context=["floor"])
    assert log.table["floor"].to_pylist() == ["", "1e+20", "0.5", "-3", ""]
    with pytest.raises(InputError, match=r"'floor' of the context is inf in row 1 \(from 0\)"):
        Interactions.from_arrow(pa.table(LOG | {"floor": [1.0, float("inf"), 2.0, 3.0, 4.0]}), context=["floor"])


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floats_of_each_width_are_read(kind: type[np.floating[Any]]) -> None:
    floors = pa.array(np.array([1, 2.5, -3, 0, 2048], kind), mask=np.array([False, False, False, True, False]))
    log = Interactions.from_arrow(pa.table(LOG | {"floor": floors, "time": [1, 2, 3, 4, 5]}), context=["floor"])
    assert log.table["floor"].to_pylist() == ["1", "2.5", "-3", "", "2048"]
    assert codes({"floor": kind(1)}) == [[-1, 0], [-1, 0]]
    assert codes([{"floor": kind("nan")}, {"floor": kind(1)}]) == [[-1, -1], [-1, 0]]
    with pytest.raises(InputError, match=r"'floor' of the context is -inf in row 1 \(from 0\)"):
        codes([{"floor": kind(1)}, {"floor": kind("-inf")}])


def test_a_log_has_each_column_once() -> None:
    table = read(["device"]).table
    with pytest.raises(InputError, match="the log has more than one column named 'device'"):
        Interactions(table.append_column("device", table["device"]))


def test_the_hour_needs_times() -> None:
    with pytest.raises(
        InteractionsError, match="no column 'utc_hour' for the context, and no times that would tell it"
    ):
        Interactions.from_arrow(pa.table(LOG).select(["user", "item"]), context=["utc_hour"])


def test_histories_and_their_parts_keep_the_context() -> None:
    log = read(context=["device"])
    ann, bob = histories(log, ItemIds(["cup", "jar", "mug"]))
    assert ann.context is not None
    assert (ann.rows.tolist(), ann.context.codes.ravel().tolist()) == ([1, 2, 0], [-1, -1, 0])
    assert dict(ann.context.columns) == {"device": ("phone", "tv")}
    parts = [ann[1:], ann[:1].joined(ann[1:]), ann.counted_by(UserModel()), ann.after(2 * DAY)]
    contexts = [part.context.codes.ravel().tolist() for part in parts if part.context is not None]
    assert contexts == [[-1, 0], [-1, -1, 0], [-1, -1, 0], [0]]
    assert bob.context is not None
    assert bob.context.codes.ravel().tolist() == [0, 1]
    cleaned, _ = prepare(log, PrepareConfig())
    earlier, later = hold_out_last(cleaned, 0.5)
    assert [part.table["device"].to_pylist() for part in (earlier, later)] == [["", "phone"], ["", "phone", "tv"]]


def test_the_most_frequent_values_are_known() -> None:
    table = pa.table({"page": [*(f"p{page}" for page in range(40)), "p39", "p7", ""]})
    context = Context.of_log(table, ["page"])
    assert context is not None
    assert context.columns["page"][:3] == ("p39", "p7", "p0")
    assert len(context.columns["page"]) == 32
    assert context.codes[[39, 40, 41, 42], 0].tolist() == [0, 0, 1, -1]
    assert rare_values(table, ["page"]) == {"page": 8}
    moved = context[np.array([41, 39])].in_columns({"side": ("a",), "page": ("p7",)})
    assert moved.codes.tolist() == [[-1, 0], [-1, -1]]
    both = joined_context([(None, 1), (context[:1], 1)])
    assert both is not None
    assert both.codes.ravel().tolist() == [-1, context.codes[0, 0]]
    assert joined_context([(None, 2)]) is None


def test_many_numbers_are_read_in_ranges_that_as_many_interactions_are_in() -> None:
    caps = [str(cap) for cap in np.random.default_rng(0).permutation(100) / 2]
    table = pa.table({"cap": [*caps, ""]})
    context = Context.of_log(table, ["cap"])
    assert context is not None
    ranges = context.columns["cap"]
    assert (len(ranges), ranges[0], ranges[1], ranges[-1]) == (10, "(-inf, 4.5]", "(4.5, 9.5]", "(44.5, inf)")
    assert context.codes[:100, 0].tolist() == [int(float(cap) / 5) for cap in caps]
    assert context.codes[100, 0] == -1
    assert rare_values(table, ["cap"]) == {}
    np.testing.assert_array_equal(range_edges(ranges), np.arange(4.5, 45, 5))


@pytest.mark.parametrize(
    "values",
    [
        [str(number) for number in range(32)],  # few
        [f"{number:03}" for number in range(100)],  # names, as postal codes are
        [*map(str, range(10_100, 10_200)), "01067"],  # a name among numbers
        [*map(str, range(100)), *(chr(ord("a") + place) for place in range(12))],  # more than a few words
    ],
)
def test_few_numbers_and_names_are_categories(values: list[str]) -> None:
    context = Context.of_log(pa.table({"page": values}), ["page"])
    assert context is not None
    assert range_edges(context.columns["page"]) is None
    assert len(context.columns["page"]) == 32


def test_frequent_numbers_and_words_are_values_beside_the_ranges() -> None:
    rest = [str(cap) for cap in range(100)]
    column = [*["9999"] * 1_800, *["9999.0"] * 100, *["50"] * 40, *["none"] * 30, *["any"] * 5, *rest]
    context = Context.of_log(pa.table({"cap": column}), ["cap"])
    assert context is not None
    ranges, others = context.columns["cap"][:10], context.columns["cap"][10:]
    assert others == ("9999", "50", "none", "any")
    assert (ranges[0], ranges[-1]) == ("(-inf, 9]", "(89, inf)")
    counts = np.bincount(context.codes[:, 0], minlength=14)
    assert counts[10:].tolist() == [1_900, 41, 30, 5]
    assert counts[:10].tolist() == pytest.approx([10] * 10, abs=1)  # of the 99 numbers that are left
    asked = {"cap": context.columns["cap"]}
    assert codes([{"cap": 9999.0}, {"cap": 9998}], columns=asked) == [[10], [9]]
    assert codes([{"cap": "50.0"}, {"cap": "any"}], columns=asked) == [[11], [13]]
    with pytest.warns(
        ContextWarning, match="nothing was learned of 'cheap' of 'cap', only of numbers and 'none', 'any'"
    ):
        assert codes([{"cap": "cheap"}, {"cap": "51"}], columns=asked) == [[-1], [5]]


def test_a_number_of_a_request_is_in_the_range_of_those_near_it() -> None:
    caps = {"cap": ("(-inf, 4.5]", "(4.5, 9.5]", "(9.5, inf)")}
    assert codes([{"cap": 4.5}, {"cap": 4.6}], columns=caps) == [[0], [1]]
    assert codes([{"cap": "-7"}, {"cap": "1e3"}], columns=caps) == [[0], [2]]
    assert codes([{"cap": ""}, {"cap": "(4.5, 9.5]"}], columns=caps) == [[-1], [1]]
    with pytest.warns(ContextWarning, match="nothing was learned of 'cheap' of 'cap', only of numbers"):
        assert codes([{"cap": "cheap"}, {"cap": "9"}], columns=caps) == [[-1], [1]]
    with pytest.raises(InputError, match=r"'cap' of the context is inf in row 1 \(from 0\); leave it empty"):
        codes([{"cap": 1.0}, {"cap": float("inf")}], columns=caps)


def codes(given: object, times: list[int] | None = None, columns: ContextColumns = COLUMNS) -> list[list[int]] | None:
    found = request_context(given, columns, None if times is None else np.array(times), 2)
    if found is None:
        return None
    listed: list[list[int]] = found.codes.tolist()
    return listed


def test_requests_give_their_context() -> None:
    assert codes(None) is None
    assert codes({}) is None
    assert codes([{"floor": float("nan")}, {}]) == [[-1, -1], [-1, -1]]
    assert codes({"device": "desk"}) == [[1, -1], [1, -1]]
    assert codes([{"floor": 1.0}, {"device": "phone", "floor": None}]) == [[-1, 0], [0, -1]]
    assert codes(pa.table({"device": ["", None], "floor": [1, 1]})) == [[-1, 0], [-1, 0]]
    hours = {"utc_hour": ("2", "0"), "utc_weekday": ("friday", "saturday")}
    assert codes(None, [DAY, 2 * DAY + 7_300], hours) == [[1, 0], [0, 1]]
    assert codes({"utc_hour": 2}, [DAY, 2 * DAY], hours) == [[0, 0], [0, 1]]
    with pytest.warns(ContextWarning, match="no context was learned"):
        assert codes({"device": "desk"}, columns={}) is None
    with pytest.warns(ContextWarning, match="nothing was learned of '2' of 'floor', only of '1'"):
        assert codes([{"floor": 2}, {"floor": 1}]) == [[-1, -1], [-1, 0]]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([{"device": "phone"}, "desk"], r"context\[1\] is 'desk' of type str; give names and values"),
        ([{"device": "phone"}, {"device": 3}], "the column 'device' of the context has values of several kinds"),
        ([{"device": ["phone"]}] * 2, "the column 'device' of the context cannot be read as text"),
        (7, "context is 7 of type int, expected a list"),
        ([], "0 rows of context for 2 users"),
        ([{}] * 5, "5 rows of context for 2 users"),
        (pa.table([["a"] * 2, ["b"] * 2], names=["device", "device"]), "more than one column named 'device'"),
        ([{"floor": 1.0}, {"floor": float("-inf")}], r"'floor' of the context is -inf in row 1"),
    ],
)
def test_requests_that_cannot_be_read(given: object, text: str) -> None:
    with pytest.raises(InputError, match=text):
        codes(given)


def test_a_table_with_users_is_read_by_their_names() -> None:
    table = pa.table({"user": ["b", "a"], "device": ["desk", "phone"]})
    found = request_context(table, ONE, None, 3, ["a", "b", "c"])
    assert found is not None
    assert found.codes.ravel().tolist() == [0, 1, -1]
    with pytest.raises(InputError, match="has none of the 2 users: 'user' has 'b', 'a', they are '1', '2'"):
        request_context(table, ONE, None, 2, ["1", "2"])
    with pytest.raises(InputError, match="has the column 'user', but the users have no names"):
        request_context(table, ONE, None, 2)


def history(rows: list[int], values: list[int], columns: ContextColumns = ONE) -> History:
    count = len(rows)
    context = Context(columns, np.array(values, np.int16)[:, None])
    return History("ann", np.array(rows), np.arange(count), np.ones(count, np.float32), context)


def test_affinities_by_hand() -> None:
    views = {"text": np.array([[1, 0], [0, 1], [1, 0]], np.float32)}
    log = [history([0, 1], [0, 1]), history([0, 1], [0, 0]), history([0], [-1])]
    learned = ContextAffinity.of(log, views, 3, ["device", "mood"])
    assert learned is not None
    # Of 4 interactions 3 are on the phone; item 0 was taken twice there, item 1 once of two times, item 2 never;
    # ten more interactions with each are 7.5 on the phone and 2.5 at the desk.
    expected = np.log(
        np.array([[(2 + 7.5) / 12 / 0.75, 2.5 / 12 / 0.25], [(1 + 7.5) / 12 / 0.75, 3.5 / 12 / 0.25], [1, 1]], float)
    )
    np.testing.assert_allclose(learned.items, expected, atol=1e-3)  # of half precision
    # The mean of all is (1/2, 1/2); of the 3 on the phone (2/3, 1/3), of the one at the desk (0, 1).
    directions = [[(2 - 1.5) / 13, (1 - 1.5) / 13], [(0 - 0.5) / 11, (1 - 0.5) / 11]]
    np.testing.assert_allclose(learned.directions["text"], directions, rtol=1e-5)
    context = Context({"device": ("desk", "phone", "tv")}, np.array([[1], [2], [0]], np.int16))
    found = learned.at(context, np.array([[0, 2], [0, 1], [1, 1]]))
    np.testing.assert_allclose(found[0], np.stack([expected[[0, 2], 0], np.zeros(2), expected[[1, 1], 1]]), atol=1e-3)
    np.testing.assert_allclose(found[1], np.repeat([[0.5 / 13], [0], [0.5 / 11]], 2, axis=1), atol=1e-3)
    assert not learned.at(None, np.zeros((2, 3), np.int64)).any()
    assert ContextAffinity.of([history([0], [0])], views, 3, ["mood"]) is None


def test_queries_are_made_of_each_context() -> None:
    targets = [history([4, 5, 6, 7], [1, 0, 1, -1]), history([8], [0])]
    past = [history([0], [0]), history([1], [1])]
    cutoff = Cutoff.between(past, targets)
    split, users = cutoff.by_context()
    assert ([one.rows.tolist() for one in split.targets], users) == ([[4, 6], [5], [7], [8]], [0, 0, 0, 1])
    assert [one.rows.tolist() for one in split.histories] == [[0], [0], [0], [1]]
    context = split.user_batch(9).context
    assert context is not None
    assert context.codes.ravel().tolist() == [1, 0, -1, 0]
    disliked = History(
        "ann", targets[0].rows, targets[0].timestamps, np.array([0, 1, 0, 1], np.float32), targets[0].context
    )
    first = cutoff._replace(targets=[disliked, targets[1]]).in_first_context(0.5)
    assert [one.rows.tolist() for one in first.targets] == [[5], [8]]
    plain = Cutoff.between([History.empty("a")], [History.empty("a")])
    assert plain.user_batch(0).context is None


def test_a_number_that_is_too_large_is_named() -> None:
    with pytest.raises(InputError, match="'price_cap' of the context has a number that is too large"):
        request_context({"price_cap": 10**40}, {}, None, 1)
