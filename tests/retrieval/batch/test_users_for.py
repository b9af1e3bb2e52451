"""The users whom an item suits, against recommending to every user and inverting the lists."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.errors import InputError, UnknownItemError
from retrieval import Interactions, Retriever
from retrieval.filters import field
from retrieval.interactions.known_items import UnknownItemsWarning
from retrieval.retriever.related import users as users_for
from tests.cli_run import runner
from tests.retrieval.batch.shop import ITEMS

USERS = 23


@pytest.fixture(scope="module")
def log() -> pa.Table:
    """Users with three to nine items, which they liked more or less."""
    rng = np.random.default_rng(4)
    rows = [
        {"user_id": f"u{number:02}", "item_id": item, "timestamp": 1_700_000_000 + step, "rating": float(rating)}
        for number in range(USERS)
        for step, (item, rating) in enumerate(
            zip(rng.permutation(ITEMS)[: rng.integers(3, 10)], rng.integers(1, 6, 9), strict=False)
        )
    ]
    return pa.Table.from_pylist(rows)


def with_a_stranger(log: pa.Table) -> pa.Table:
    """Add a user who knows nothing of the shop."""
    return pa.Table.from_pylist([*log.to_pylist(), log.to_pylist()[0] | {"user_id": "stranger", "item_id": "jug"}])


def inverted(retriever: Retriever, log: pa.Table, item: str, where: object = ()) -> dict[str, float]:
    """Recommend everything to every user, and keep whom the item was recommended to, with its score."""
    names = [f"u{number:02}" for number in range(USERS)]
    found = retriever.recommend(log, len(retriever.items), stages="retrieval", user_ids=names, where=where)  # type: ignore[arg-type]
    return {
        user: hit.score
        for user, hits in zip(found.query_ids, found, strict=True)
        for hit in hits
        if hit.item_id == item
    }


@pytest.mark.parametrize("users_at_once", [users_for._USERS, 5])
@pytest.mark.parametrize("which", ["retriever", "unlearned"])
def test_the_same_users_and_scores_as_when_everybody_is_asked(
    log: pa.Table, which: str, users_at_once: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users_for, "_USERS", users_at_once)
    retriever: Retriever = request.getfixturevalue(which)
    asked = ["red-mug", "blue-chair", "red-mug"]
    found = retriever.users_for(asked, Interactions.from_arrow(log), 7)
    assert (len(found), found.item_ids) == (3, tuple(asked))
    for item, hits in zip(asked, found, strict=True):
        expected = inverted(retriever, log, item)
        assert [hit.rank for hit in hits] == list(range(1, 8))
        # matrix products of other shapes round differently
        np.testing.assert_allclose(
            [hit.score for hit in hits], sorted(expected.values())[::-1][:7], rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(
            [hit.score for hit in hits], [expected[hit.user_id] for hit in hits], rtol=1e-4, atol=1e-5
        )


def test_all_users_but_those_who_have_the_item(retriever: Retriever, log: pa.Table) -> None:
    have = {row["user_id"] for row in log.to_pylist() if row["item_id"] == "red-mug"}
    table = retriever.users_for(["red-mug"], log, 1000).to_arrow()
    assert table.schema.names == ["item_id", "user_id", "rank", "score"]
    assert sorted(table["user_id"].to_pylist()) == sorted({f"u{n:02}" for n in range(USERS)} - have)
    assert table["rank"].to_pylist() == list(range(1, USERS - len(have) + 1))
    assert have


def test_who_has_no_item_of_the_bundle_is_left_out_with_a_warning(retriever: Retriever, log: pa.Table) -> None:
    table = with_a_stranger(log)
    with pytest.warns(
        UnknownItemsWarning, match=rf"^1 of {len(table)} interactions, by 1 of {USERS + 1} users, .*'jug'"
    ):
        found = retriever.users_for(["red-mug"], table, 1000)
    assert found[0] == retriever.users_for(["red-mug"], log, 1000)[0]


def test_a_new_item_is_asked_for_as_where_it_is_all_that_is_left(changed: Retriever, log: pa.Table) -> None:
    with pytest.warns(UnknownItemsWarning, match=r"8 of 120 .* 2 items that are not in the bundle, e\.g\. 'blue-mug'"):
        hits = changed.users_for(["twin"], log, 100)[0]
    with pytest.warns(UnknownItemsWarning, match=r"8 of 120 .* 2 items that are not in the bundle, e\.g\. 'blue-mug'"):
        expected = inverted(changed, log, "twin", field("item_id") == "twin")
    assert {hit.user_id for hit in hits} == set(expected)
    assert len(hits) == USERS
    np.testing.assert_allclose([hit.score for hit in hits], sorted(expected.values())[::-1], rtol=1e-4, atol=1e-5)


def test_equal_scores_stand_in_the_order_of_the_users(retriever: Retriever) -> None:
    same = [{"user_id": f"u{n}", "item_id": "red-mug", "timestamp": 5, "rating": 5.0} for n in range(8)]
    hits = retriever.users_for(["red-book"], pa.Table.from_pylist(same), 5)[0]
    assert [hit.user_id for hit in hits] == ["u0", "u1", "u2", "u3", "u4"]


def test_wrong_arguments(retriever: Retriever, log: pa.Table) -> None:
    with pytest.raises(UnknownItemError, match="'jug'"):
        retriever.users_for(["jug"], log)
    with pytest.raises(InputError, match="interactions is of type list; give a log"):
        retriever.users_for(["red-mug"], [["blue-mug"]])
    with pytest.raises(InputError, match="k is 0"):
        retriever.users_for(["red-mug"], log, 0)


def test_the_command(
    bundle: Path, retriever: Retriever, log: pa.Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = runner(capsys)
    pq.write_table(with_a_stranger(log), tmp_path / "log.parquet")
    given = ("users-for", bundle, "red-mug", "blue-chair", "--interactions", tmp_path / "log.parquet", "-k", 2)
    expected = retriever.users_for(["red-mug", "blue-chair"], log, 2).to_arrow()["user_id"].to_pylist()
    code, printed, printed_errors = call(*given)
    assert code == 0
    assert printed_errors.count("that are not in the bundle, e.g. 'jug'") == 1
    assert all(user in printed for user in expected)
    code, printed, _ = call(*given, "--out", tmp_path / "users.parquet", "--json")
    answer = json.loads(printed)
    assert (code, answer["queries"], answer["empty"], answer["known"]["unknown"]) == (0, 2, 0, 1)
    assert pq.read_table(tmp_path / "users.parquet")["user_id"].to_pylist() == expected
