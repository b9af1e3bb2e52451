"""Recommending to users: queries of their histories, what the index finds, and the second stage."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from indexing.arrays import Rows, Vectors, lengths_of
from indexing.catalogue.readers.arrow_tables import arrow_table, check_distinct, is_table
from indexing.errors import InputError, ShapeError
from indexing.index.base import check_k
from indexing.runtime.arguments import check_array, check_choice, check_flag, check_number, check_whole
from retrieval.candidates import Candidates
from retrieval.candidates.sources import Codes, codes_for, source_code
from retrieval.filters import Where, selected
from retrieval.interactions.context import Context, ContextColumns, ContextLike, request_context, warn_of_context
from retrieval.interactions.parse_values import Moment
from retrieval.interactions.user_profiles import Profiles, as_profiles, in_order_of
from retrieval.models.profile_model import ProfilesLike
from retrieval.models.user_model import UserModel
from retrieval.postprocess.duplicates import ShowOnce
from retrieval.ranking.explain import finite_weights
from retrieval.ranking.published_heads import warn_without_returning
from retrieval.ranking.reranker import NO_ROWS, ExactReranker
from retrieval.ranking.second_stage import SecondStage
from retrieval.ranking.sources import UserBatch
from retrieval.retriever.fallback.fill_short_lists import fill_short_lists, note_unknown
from retrieval.retriever.loaded_bundle import LoadedBundle
from retrieval.retriever.query_inputs import IN_VISIT, Histories, LastTimes, UserHistories, as_log, check_histories
from retrieval.retriever.search import shown_once

Stages = Literal["all", "retrieval"]


class Request(NamedTuple):
    """A request for recommendations: the arguments of `Retriever.recommend` and `Retriever.pool`.

    With a second stage the candidates of its sources are ordered by its head, followed by hits of the index; without
    one all hits are of the index. So are those of a filter that leaves only items without interactions, which no head
    orders; then all items of a history count equally. A list of fewer than k hits is filled: with items of similar
    content, then with trending, popular and newest items; see `Candidates.sources`.

    `Retriever.recommend` makes ``users`` and ``new`` of these arguments:

    histories: For each of B users the item_ids of their history, oldest first. A repeated item counts once, at its last
        position and with its last weight. After `fit` an empty history gets popular items. Or a log: `Interactions`,
        its path, a table or a DataFrame, with weights and times; unknown items are left out, with a warning.
    user_ids: B names of the queries; of a log the users to recommend to, all when empty.
    weights: The weight of each item of each history, on the scale of the training log; equal when None. Disliked items
        are not recommended, and are no part of the query. A user without liked items gets popular items.
    times: Time of the requests, one for all or one for each: a date, a time (UTC where it has no zone), seconds or
        milliseconds since 1970, or ``"now"``; see `request_seconds`. With a log, or with ``last_times``,
        users return after the days since their last interaction. When None, the time is now, after the training log,
        and each request is within the visit of the last interaction.
    last_times: Time of the last interaction of each user, given like ``times``, for histories as lists, which need it
        where ``times`` are given. That of an empty history is not read, and may be None. ``"in_visit"`` says that
        each user asks in the visit of the last interaction, which takes place at ``times``.
    profiles: Attributes of each user, ``{"age": 31, "plan": "team"}``, or a table with a row for each; only if `fit`
        was given profiles. They count less the longer the history is. `Profiles`, a path of them and a table with a
        column ``user_id`` are read by ``user_ids``; of users whom they lack nothing is known.
    context: The context of the request, ``{"device": "phone"}`` for all users, or one for each, or a table with a row
        for each, by ``user_ids`` where it has a column ``user_id``; read by the second stage if `fit` read such
        columns of the log. Unknown values are neutral, with a `ContextWarning`.

    Attributes:
        users: B users by their histories.
        new: (B, R) float32, the behaviour query of each user for an empty history, from ``profiles``; None is
            popularity.
        where: What every answer satisfies, evaluated.
        exclude_seen: Leave out the items of the history; what was disliked is left out in any case.
        min_relevance: Interactions of a smaller weight are dislikes: half of the largest weight of the ratings learned
            from when None, or of the same history where nothing was learned, which stays None here. Give 0 where
            weights are no ratings.
        context: Of each request; None where nothing is known of it.
    """

    users: UserHistories
    new: Vectors | None
    where: Where
    exclude_seen: bool
    min_relevance: float | None
    context: Context | None = None

    @classmethod
    def of(
        cls,
        state: LoadedBundle,
        users: UserHistories,
        new: Vectors | None = None,
        where: Where = (),
        *,
        exclude_seen: bool = True,
        min_relevance: float | None = None,
        context: Context | None = None,
    ) -> "Request":
        """Make a request; what counts as a dislike is settled here, for everything that asks."""
        least = state.learned.min_relevance(users.min_relevance) if min_relevance is None else min_relevance
        return cls(users, new, where, exclude_seen, least, context)

    @property
    def exclude(self) -> list[Rows]:
        """Rows to exclude for each user: the history, or only what was disliked of it if it may be recommended."""
        users, model = self.users, UserModel(min_relevance=self.min_relevance)
        if self.exclude_seen:
            return users.rows
        if users.weights is None:
            return [NO_ROWS] * len(users.rows)
        return [rows[model.is_disliked(weights)] for rows, weights in zip(users.rows, users.weights, strict=True)]

    def take(self, at: Rows | None) -> "Request":
        """Keep the users at some positions, None for all."""
        if at is None:
            return self
        new, context = None if self.new is None else self.new[at], None if self.context is None else self.context[at]
        return self._replace(users=self.users.take(at), new=new, context=context)


def users_of(
    state: LoadedBundle,
    given: Histories,
    user_ids: Sequence[str],
    weights: Sequence[Sequence[float]] | None,
    times: Moment | Sequence[Moment] | None,
    last_times: LastTimes,
) -> UserHistories:
    """Make `UserHistories` of lists or of a log; see `Retriever.recommend`."""
    if (log := as_log(given, state.learned.events)) is None:
        if last_times is not None and times is None:
            raise InputError("last_times say since when users were away; give the times of the requests, too, as times")
        if in_visit := isinstance(last_times, str):
            check_choice(last_times, "last_times", [IN_VISIT])
        last = None if isinstance(last_times, str) else last_times
        return UserHistories.of_lists(given, state.items, user_ids, weights, last).asking_at(times, in_visit=in_visit)
    if weights is not None:
        raise InputError("a log says how much each item was liked; leave out weights, or give histories as lists")
    if last_times is not None:
        raise InputError("a log says when each user did the last; leave out last_times, or give histories as lists")
    return UserHistories.of_log(log, state.items, user_ids, timed=times is not None).asking_at(times)


def request_of(
    state: LoadedBundle,
    users: UserHistories,
    profiles: ProfilesLike | None,
    context: ContextLike | None,
    where: Where,
    exclude_seen: bool,
    min_relevance: float | None,
    stages: Stages = "all",
) -> Request:
    """Make a request of the arguments of `Retriever.recommend`."""
    exclude_seen = check_flag(exclude_seen, "exclude_seen")
    if min_relevance is not None:
        min_relevance = check_number(min_relevance, "min_relevance", "give a number, or None")
    new = new_queries(state, profiles, len(users.rows), users.user_ids)
    allowed = selected(state.bundle.attributes, where)
    note_returning(state, users.rows, returning=users.idle is not None, stages=stages)
    read, least = context_of(state, users, context, stages), min_relevance
    return Request.of(state, users, new, allowed, exclude_seen=exclude_seen, min_relevance=least, context=read)


def note_returning(state: LoadedBundle, histories: Sequence[Rows], *, returning: bool, stages: Stages = "all") -> None:
    """Warn where users return at the times of their requests, and the bundle has no head for them."""
    if not returning or not any(map(len, histories)):
        return
    block = state.behaviour
    stage = state.reranker if stages == "all" else ExactReranker(state.indexed)
    warn_without_returning(stage, has_weights=block is not None and block.returning is not None)


def context_columns(state: LoadedBundle) -> ContextColumns:
    """Give the columns of the context that the second stage has learned, and their values; perhaps none."""
    stage = state.reranker
    learned = stage.features.context if isinstance(stage, SecondStage) else None
    return {} if learned is None else learned.columns


def context_of(
    state: LoadedBundle, users: UserHistories, given: ContextLike | None, stages: Stages = "all"
) -> Context | None:
    """Read the context of requests by what the second stage has learned; see `request_context`."""
    context = request_context(given, context_columns(state), users.times, len(users.rows), users.user_ids)
    stage, returning = state.reranker, users.idle is not None
    if context is None or given is None or not isinstance(stage, SecondStage):
        return context
    if stages == "retrieval":
        warn_of_context("the context is ignored, as retrieval alone answers: the second stage reads it")
        return context
    num_new = int(np.count_nonzero(lengths_of(users.rows) == 0))
    if num_new < len(users.rows) and not stage.reads_context("returning" if returning else "visits"):
        who = "users who return at the times given" if returning else "visits that go on"
        warn_of_context(f"the context is ignored for {who}: it did not help there")
    if num_new and not stage.reads_context("new"):
        warn_of_context(f"the context is ignored for {num_new} users without a history: no head that reads it orders")
    return context


def recommended(state: LoadedBundle, request: Request, k: int, stages: Stages) -> Candidates:
    """Recommend by the published stages, or by the index alone, and fill lists of fewer than k hits."""
    found = by_stages(state, request, k, stages)

    def tastes(lines: Rows) -> Vectors:
        space, users = state.space.liking(request.min_relevance), request.users
        weights = None if users.weights is None else [users.weights[line] for line in lines.tolist()]
        liked = space.users.liked_items([users.rows[line] for line in lines.tolist()], weights)
        return space.tastes(*liked, state.centre)

    return fill_short_lists(state, found, k, tastes=tastes, where=request.where, exclude=request.exclude)


def by_stages(state: LoadedBundle, request: Request, k: int, stages: Stages) -> Candidates:
    """Recommend by all published stages, or by the index alone."""
    stage, alone = state.reranker, stages == "retrieval"
    only_new = state.has_only_new(request.where)
    if alone or not isinstance(stage, SecondStage) or (not stage.new_items and only_new):
        return retrieved(state, request, k, new_items=only_new)
    found = by_both_stages(state, stage.liking(request.min_relevance), request)
    short = check_k(k) > stage.per_source and found.rows.shape[1] - (found.rows < 0).sum(axis=1).max(initial=0) < k
    if short:  # a list longer than what the sources bring up
        found = found.followed_by(retrieved(state, request, k, new_items=only_new))
    return found.top(k)


def recommended_once(state: LoadedBundle, request: Request, k: int, stages: Stages, once: ShowOnce) -> Candidates:
    """Answer as `recommended` does, with some hits shown once."""
    check_choice(stages, "stages", get_args(Stages))
    note_unknown(state, request.users.rows)  # once, and not of each depth of those with too few hits
    return shown_once(state, lambda depth, at: recommended(state, request.take(at), depth, stages), k, once)


def by_both_stages(state: LoadedBundle, stage: SecondStage, request: Request) -> Candidates:
    """Order the candidates of all sources by the head."""
    allow, exclude = state.allowed_rows(request.where), seen_rows(request)
    asked, names = user_batch_of(stage, request), request.users.user_ids
    found = stage.recommend(asked, state.items, exclude=exclude, allow=allow, query_ids=names)
    among = None if found.among is None else _as_requested(state, request, found.among)
    found = replace(_as_requested(state, request, found), among=among)
    return replace(found, sources=retrieval_sources(state, request, found))


def pool_of(state: LoadedBundle, request: Request, per_source: int | None) -> Candidates:
    """Give the candidates of all sources of the second stage; see `Retriever.pool`."""
    stage = state.reranker
    if not isinstance(stage, SecondStage):
        raise InputError("this bundle has no second stage, so no sources; call recommend, or learn one with `fit`")
    per_source = stage.per_source if per_source is None else check_whole(per_source, "per_source")
    stage, allow, exclude = stage.liking(request.min_relevance), state.allowed_rows(request.where), seen_rows(request)
    asked, names = user_batch_of(stage, request), request.users.user_ids
    found = stage.pool(asked, state.items, per_source, names, exclude=exclude, allow=allow)
    found = _as_requested(state, request, found)
    return replace(found, sources=retrieval_sources(state, request, found))


def _as_requested(state: LoadedBundle, request: Request, found: Candidates) -> Candidates:
    """Say in candidates what was learned from, and what a dislike is in their request."""
    return replace(found, learned=state.learned.learned_from, min_relevance=request.min_relevance)


def seen_rows(request: Request) -> list[Rows] | None:
    """Give the rows that sources exclude for each user; None excludes those of the history."""
    return None if request.exclude_seen else request.exclude


def user_batch_of(stage: SecondStage, request: Request) -> UserBatch:
    """Make the batch of users that the sources of the second stage read."""
    users, facts = request.users, stage.features.statistics
    weights = users.weights or [np.full(len(rows), stage.features.default_weight, np.float32) for rows in users.rows]
    times = np.full(len(users.rows), facts.now, np.int64) if users.times is None else users.times
    return UserBatch(users.rows, weights, times, request.new, users.idle, request.context)


def default_weight(state: LoadedBundle) -> float:
    """Give the weight, on the scale of the training log, of items of a history without weights: never a dislike."""
    stage, users, block = state.reranker, state.users, state.behaviour
    alike = 1.0
    if isinstance(stage, SecondStage):
        alike = stage.features.default_weight
    elif block is not None:
        alike = users.weight_of(float(block.weight_bins[len(block.weight_bins) // 2]))
    return max(alike, users.min_relevance or 0.0)


def retrieved(state: LoadedBundle, request: Request, k: int, *, new_items: bool) -> Candidates:
    """Answer by the index alone."""
    users, queries = request.users, queries_of(state, request, new_items=new_items)
    found = state.search(queries, k, request.where, request.exclude, kind="history")
    return replace(
        found,
        sources=retrieval_sources(state, request, found),
        query_ids=users.user_ids or found.query_ids,
        histories=tuple(users.rows),
        weights=tuple(users.weights or ()),
        times=users.times,
        new=request.new,
        idle=users.idle,
        context=request.context,
        learned=state.learned.learned_from,
        new_items=new_items,
        min_relevance=request.min_relevance,
    )


def retrieval_sources(state: LoadedBundle, request: Request, found: Candidates) -> Codes:
    """Name the source of each hit that no head has ordered; hits that a head ordered keep theirs.

    Behaviour brings up what others took with the history, content what is like it, as it does all that nobody has
    taken yet. Users who liked nothing, and of whom no profile is known, are answered with what is popular.
    """
    codes = codes_for(found.rows, "content" if state.behaviour is None else "behaviour")
    if state.behaviour is not None:
        histories, _ = state.space.liking(request.min_relevance).users.liked_items(
            request.users.rows, request.users.weights
        )
        if request.new is None:
            is_unknown = lengths_of(histories) == 0
            codes[is_unknown] = codes_for(found.rows[is_unknown], "popular")
        is_new = (found.rows >= 0) & state.space.is_new(found.rows.ravel()).reshape(found.rows.shape)
        codes[is_new] = source_code("content")
    return codes if found.sources is None else np.where(found.sources >= 0, found.sources, codes)


def queries_of(state: LoadedBundle, request: Request, *, new_items: bool = False) -> Vectors:
    """Give the query vectors of a request for the index; see `user_queries`."""
    users, new, returning = request.users, request.new, request.users.idle is not None
    least = request.min_relevance
    return user_queries(state, users.rows, users.weights, new, least, returning=returning, new_items=new_items)


def user_queries(
    state: LoadedBundle,
    histories: Sequence[Rows],
    weights: Sequence[Sequence[float] | Vectors] | None = None,
    new: Vectors | None = None,
    min_relevance: float | None = None,
    *,
    returning: bool = False,
    new_items: bool = False,
) -> Vectors:
    """Give the query vectors of users for the index: (B, D + R) float32; see `Retriever.recommend`.

    Args:
        state: Of the bundle.
        histories: B arrays of rows, oldest first.
        weights: How much each was liked.
        new: What `new_queries` gives of their profiles.
        min_relevance: Interactions of a smaller weight are dislikes.
        returning: Whether users return for a new visit, rather than continue one.
        new_items: Whether only items without interactions are recommended.
    """
    check_histories(histories, len(state.items))
    returning, new_items = check_flag(returning, "returning"), check_flag(new_items, "new_items")
    if min_relevance is not None:
        check_number(min_relevance, "min_relevance", "give a number, or None")
    if new is not None and state.behaviour is not None:
        new = check_array(new, "new", np.float32, "give what new_queries gives")
        if new.shape != (wanted := (len(histories), state.behaviour.items.shape[1])):
            raise ShapeError(f"new is of shape {new.shape}, expected {wanted}; give what new_queries gives")
    given = None if weights is None else finite_weights(weights, histories)
    space = state.space.liking(min_relevance)
    if new_items:
        space = space.for_new_items
    elif returning:
        space = space.for_returning
    return space.user_queries(histories, given, state.centre, new)


def new_queries(
    state: LoadedBundle, profiles: ProfilesLike | None, count: int, user_ids: Sequence[str] = ()
) -> Vectors | None:
    """Give the behaviour queries of ``count`` users for an empty history, from their profiles: (B, R) float32.

    `Profiles`, and tables with a column ``user_id``, are read by the names of the users. Values that were not learned
    say nothing, with a `ProfileWarning`.
    """
    count = check_whole(count, "count", 0)
    if profiles is None:
        return None
    if (taste := state.space.profiles) is None:
        raise InputError("this bundle has not learned from profiles; leave them out, or give some to `fit`")
    if isinstance(profiles, Profiles | Path | str):
        known = as_profiles(profiles)
        profiles = known.attributes.append_column("user_id", known.user_ids)
    if is_table(profiles):
        table = arrow_table(profiles, "the table of profiles")
        check_distinct(table.column_names, "the table of profiles")
        read = [encoder.column for encoder in taste.columns]
        profiles = in_order_of(table, user_ids, "the table of profiles", read)
    if len(table := taste.table(profiles)) != count:
        raise ShapeError(f"{len(table)} profiles for {count} histories; give one for each, an empty one will do")
    taste.warn_of_unknown(table)
    return taste.queries(table)
