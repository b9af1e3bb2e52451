"""The stage names the head of each kind of request, and warns of requests without a head."""

import warnings
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from indexing.catalogue.item_ids import ItemIds
from retrieval.candidates import Candidates
from retrieval.ranking.published_heads import PublishedHeads, ReturningUsersWarning, warn_without_returning
from retrieval.ranking.reranker import ExactReranker
from retrieval.ranking.second_stage import Requests, SecondStage
from tests.retrieval.ranking.test_stage import HISTORIES, SMALL, learner
from tests.retrieval.ranking.worlds import ITEMS, moment_of


@pytest.fixture(scope="module")
def stage() -> SecondStage:
    one = learner(SMALL)
    return one.stage(one.head([one.examples(moment_of(HISTORIES))])[0], HISTORIES)


@pytest.mark.parametrize(
    ("settings", "returning", "new"),
    [
        ({}, "head of visits", "retrieval"),
        ({"min_history": 0}, "head of visits", "head of visits"),
        ({"leaves_returning": True}, "retrieval", "retrieval"),
        ({"leaves_returning": True, "min_history": 0}, "retrieval", "retrieval"),
        ({"own": True}, "own head", "own head"),
        ({"own": True, "orders_new": False}, "own head", "retrieval"),
    ],
)
def test_what_orders_each_kind_of_request_is_what_the_stage_does(
    stage: SecondStage, settings: dict[str, Any], returning: str, new: str
) -> None:
    settings = dict(settings)
    own = copy(stage.head) if settings.pop("own", False) else None
    tried = replace(stage, returning=own, **settings)
    heads = PublishedHeads.of(tried)
    assert heads is not None
    assert (heads.visits, heads.returning, heads.new) == ("own head", returning, new)
    assert heads.to_json()["heads"] == {"visits": "own head", "returning": returning, "new": new}
    assert heads.min_history == tried.min_history
    assert heads.context_readers == ()
    assert f"returning users: {returning}" in heads.in_words()["ordered by"]
    queries, rows = np.zeros((2, 2), np.float32), np.array([[7, 8, 9]] * 2)
    asked = Candidates(queries, rows, np.zeros((2, 3), np.float32), ItemIds(ITEMS), "retrieve")
    asked = replace(asked, histories=(np.arange(6), np.empty(0, np.int64)))
    times: list[tuple[Any, Requests]] = [(None, "visits"), (np.zeros(2, np.float32), "returning")]
    for idle, with_history in times:
        given = replace(asked, idle=idle)
        for query, kind in enumerate((tried.orders[with_history], tried.orders["new"])):
            assert bool(np.all(tried.ordered_by_head(given)[query])) == (kind != "retrieval")
            if kind != "retrieval":
                assert tried.head_of(given, query) is (own if kind == "own head" else tried.head)


def test_the_shortest_history_of_the_head_is_reported(stage: SecondStage) -> None:
    heads = PublishedHeads.of(replace(stage, min_history=4))
    assert heads is not None
    assert heads.in_words()["shortest history"].startswith("4 items for the head of visits")


def test_a_bundle_without_a_second_stage_has_no_heads(stage: SecondStage) -> None:
    assert PublishedHeads.of(ExactReranker(stage.vectors)) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "no head for users who return at the times given, so that the head of visits orders them"),
        ({"leaves_returning": True}, "keep the order of retrieval: this bundle has no head for them"),
    ],
)
def test_a_request_with_a_time_is_warned_that_no_head_is_for_users_who_return(
    stage: SecondStage, settings: dict[str, Any], message: str
) -> None:
    with pytest.warns(ReturningUsersWarning, match=message):
        warn_without_returning(replace(stage, **settings), has_weights=True)


def test_times_that_change_nothing_are_reported(stage: SecondStage) -> None:
    with pytest.warns(ReturningUsersWarning, match="times of the requests change nothing"):
        warn_without_returning(ExactReranker(stage.vectors), has_weights=False)


def test_what_is_made_for_users_who_return_is_not_warned_of(stage: SecondStage) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_without_returning(replace(stage, returning=stage.head), has_weights=True)
        warn_without_returning(replace(stage, min_history=0), has_weights=True)  # trained at one moment for all
        warn_without_returning(ExactReranker(stage.vectors), has_weights=True)
