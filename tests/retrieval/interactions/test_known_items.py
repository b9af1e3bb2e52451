"""Logs whose item_ids are not those of the bundle: read, or reported with examples and a cause."""

import pyarrow as pa
import pytest

from indexing.catalogue.item_ids import ItemIds
from retrieval.batch import LoggedHistories
from retrieval.batch.in_memory import users_of
from retrieval.interactions.histories import histories
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.known_items import KnownItems, known_items
from tests.logs import log, values

ITEMS = ItemIds(["1", "2", "B00A", "007"])


def read(*item_ids: str, users: str = "") -> Interactions:
    return Interactions.from_arrow(log(item_id=list(item_ids), user_id=list(users or "u" * len(item_ids))))


@pytest.mark.parametrize(
    ("given", "catalogue", "expected"),
    [
        ("1.0", ["1"], "1"),  # pandas made the log's ids floats
        ("1", ["1.0"], "1.0"),  # or the catalogue's
        ("1.0", ["1", "1.0"], "1.0"),  # both are there: nothing is guessed
        ("12.00", ["12"], "12"),
    ],
)
def test_a_whole_number_is_found_in_either_spelling(given: str, catalogue: list[str], expected: str) -> None:
    items = ItemIds(catalogue)
    found, known = known_items(read(given), items)
    assert values(found, "item_id") == [expected]
    assert (known.unknown, known.respelled) == (0, int(given != expected))
    assert [items[row] for row in histories(read(given), items)[0].rows] == [expected]


def test_what_is_unknown_is_counted_with_examples() -> None:
    found, known = known_items(read("1", "x9", "1.0", "x8", "x9", "2", "x7", users="aabbbcd"), ITEMS)
    assert values(found, "item_id") == ["1", "x9", "1", "x8", "x9", "2", "x7"]
    assert known == KnownItems(
        interactions=7,
        users=4,
        unknown=4,
        unknown_items=3,
        unknown_users=3,
        users_left_out=1,
        examples=("x9", "x8", "x7"),
        cause="Items that were deleted, or not added yet, are a common cause.",
        respelled=1,
    )
    assert str(known) == (
        "4 of 7 interactions, by 3 of 4 users, 1 of whom have no other, are with 3 items that are not in the bundle, "
        "e.g. 'x9', 'x8', 'x7'; they are left out. Items that were deleted, or not added yet, are a common cause. "
        "1 interactions write their item with or without .0; they are read as the bundle does."
    )
    assert known.to_json()["examples"] == ("x9", "x8", "x7")


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        (" 1", "white space"),
        ("b00a", "another case"),
        ("7", "Leading zeros"),
        ("0001", "Leading zeros"),
        ("other", r"Are these the item_ids that the bundle was built with, e.g. '1', '2', 'B00A'"),
    ],
)
def test_the_likely_cause_is_reported(given: str, cause: str) -> None:
    assert cause in known_items(read(given), ITEMS)[1].cause


def test_a_log_that_fits_says_nothing() -> None:
    given = read("1", "2")
    found, known = known_items(given, ITEMS)
    assert found is given
    assert str(known) == ""


def test_users_of_a_log_without_a_known_item_are_refused_with_both_kinds_of_ids() -> None:
    for make in (users_of, LoggedHistories.of):
        with pytest.raises(ValueError, match=r"the log has 'x', 'y', the bundle '1', '2', 'B00A', …\. Are these"):
            make(read("x", "y"), ITEMS)


def test_histories_count_the_last_rating_of_an_item_that_comes_in_both_spellings() -> None:
    table = pa.table({"user": ["u", "u"], "item": ["1", "1.0"], "time": [1, 2], "rating": [5, 1]})
    (history,) = histories(Interactions.from_arrow(table), ITEMS)
    assert (history.rows.tolist(), history.weights.tolist(), history.timestamps.tolist()) == ([0], [1.0], [2])
