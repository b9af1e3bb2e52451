"""Who stands for new users, and what they are asked."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from retrieval.fitting.part_training import shortest_history
from retrieval.fitting.selection.held_out_new_users import ShortHistories, hold_out_users
from retrieval.interactions.histories import History


def history(rows: list[int], weights: list[float]) -> History:
    return History("ann", np.array(rows, np.int64), np.arange(len(rows)), np.array(weights, np.float32))


def test_newcomers_are_users_after_their_first_items_who_liked_what_came_next() -> None:
    user_histories = [history(list(range(30)), [5] * 30) for _ in range(12)] + [history([1, 2, 3, 4], [5, 5, 5, 1])]
    found = ShortHistories.of(user_histories, 2.5)
    assert found is not None
    assert [past.rows.tolist() for past in found.histories[:4]] == [[0], [0, 1], [0, 1, 2], [0]]
    assert [past.rows.tolist() for past in found.relevant[:2]] == [list(range(1, 21)), list(range(2, 22))]
    assert len(found.histories) == len(found.relevant) == 13
    assert (
        len(
            (
                ShortHistories.of(
                    [*user_histories[:12], user_histories[12], user_histories[12], user_histories[12]], 5.5
                )
                or ShortHistories([], [])
            ).histories
        )
        == 0
    )
    assert ShortHistories.of(user_histories[:9], 2.5) is None


@pytest.mark.parametrize(("users", "out"), [(79, 0), (80, 20), (400, 40), (30_000, 2_000)])
def test_a_tenth_is_left_out_but_of_few(users: int, out: int) -> None:
    user_histories = [history([1], [5])] * users
    training_users, new = hold_out_users(user_histories)
    assert (len(training_users), len(new)) == (min(users - out, 20_000), out)
    names = [History.empty(str(n)) for n in range(80)]
    training_users, new = hold_out_users(names)
    assert sorted(past.user_id for past in (*training_users, *new)) == sorted(past.user_id for past in names)
    assert [past.user_id for past in new] == [past.user_id for past in hold_out_users(names)[1]]


@pytest.mark.parametrize(
    ("loses", "shortest"),
    [((), 1), ((3,), 4), ((5,), 8), ((10,), 15), ((20,), 30), ((3, 20), 30), ((3, 5), 8)],
)
def test_the_head_orders_histories_from_the_length_on_above_which_it_never_loses(
    loses: tuple[int, ...], shortest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = SimpleNamespace(
        fit_features=lambda _space, histories: histories,
        assemble=lambda _head, _features, _space, fewest: SimpleNamespace(rerank=lambda items: (fewest, items)),
    )
    trainer: Any = SimpleNamespace(stage_trainer=lambda _context: learner)
    monkeypatch.setattr(shortest_history, "pool_at", lambda _trainer, _stage, at: max(map(len, at.histories)))

    def mean(found: tuple[int, int], _wanted: object, _measure: str) -> float:
        fewest, items = found
        return 0.5 if fewest > 1 else 0.4 if items in loses else 0.5

    arguments: list[Any] = [
        SimpleNamespace(head=None, min_history=1, features=SimpleNamespace(context=None, context_columns=())),
        SimpleNamespace(space=None),
        [],
        [history(list(range(30)), [5] * 30)] * 12,
        SimpleNamespace(min_relevance=2.5, mean=mean),
    ]
    found, measured = shortest_history.select_shortest_history(trainer, *arguments)
    assert found == shortest
    assert {name for name, values in measured.items() if values["reranker"] < values["retrieval"]} == {
        {3: "1-3"}.get(items, str(items)) for items in loses
    }
    arguments[3] = [history(list(range(8)), [5] * 8)] * 12  # nobody did more than eight things
    assert set(shortest_history.select_shortest_history(trainer, *arguments)[1]) == {"1-3", "5"}
