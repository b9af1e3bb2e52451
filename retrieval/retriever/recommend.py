"""Recommending: from histories or a log to candidates, by the index alone or by both stages."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from indexing.arrays.ragged import lengths_of
from indexing.arrays.types import Mask, Rows, Vectors
from indexing.errors import InputError, ShapeError
from indexing.index.base import check_k
from indexing.index.search import retrieve, retrieve_tastes
from indexing.runtime.arguments import check_array, check_choice, check_flag, check_number, check_whole
from retrieval.candidates import Candidates
from retrieval.filters import Where, allowed
from retrieval.models.interests import best_of, parts_of, split_history
from retrieval.models.profile_model import Given
from retrieval.ranking.explain.explain import finite_weights
from retrieval.ranking.reranker import NO_ROWS
from retrieval.ranking.second_stage import SecondStage
from retrieval.ranking.sources import Asked
from retrieval.retriever.query_inputs import past_rows
from retrieval.retriever.stages import LaterStages
from retrieval.retriever.user_histories import Histories, UserHistories, as_log

Stages = Literal["all", "retrieval"]


class Recommending(LaterStages):
    """What a `Retriever` does for users."""

    def recommend(
        self,
        histories: Histories,
        k: int = 10,
        *,
        stages: Stages = "all",
        where: Where = (),
        exclude_seen: bool = True,
        user_ids: Sequence[str] = (),
        weights: Sequence[Sequence[float]] | None = None,
        times: int | Sequence[int] | None = None,
        profiles: Given | None = None,
        interests: int = 1,
        least: float | None = None,
    ) -> Candidates:
        """Recommend k items to each user, by all stages that were published: it is what `fit` judged.

        With a second stage the candidates of its sources are ordered by its head, and beyond them what the index finds
        follows; without one the index answers. It also does where ``where`` leaves only items that nobody has met,
        which no head orders: these are asked for by all of a history alike, not by what was done last.

        Args:
            histories: For each of B users the item_ids of their history, oldest first; one click will do. An item that
                comes several times counts once, where it comes last, with its last weight. Where interactions were
                learned from, an empty history is answered with what is popular. Or a log: `Interactions`, the path of
                one, a table or a DataFrame. It brings weights and times along, and items that the bundle lacks are
                left out.
            k: Answers a user.
            stages: ``"all"``, or ``"retrieval"`` for what the index finds alone.
            where: What every answer satisfies.
            exclude_seen: Leave out the items of the history.
            user_ids: B names for the answers; of a log the users who ask, all of them when there are none.
            weights: How much each item of each history was liked, as in the log that was learned from: a rating of 1
                speaks against what a rating of 5 speaks for. All alike when None. What was disliked is left out of the
                answers, and says nothing of taste. A user who liked nothing is answered with what is popular, or with
                nothing where that was not learned.
            times: When users ask, in seconds since 1970, one for all or one for each; with a log the days since each
                did the last count too. When None all ask now, after all that was learned from, in a visit that goes on.
            profiles: What is known of each user beside the history, ``{"age": 31, "plan": "team"}``, or a table with a
                line for each; only where `fit` learned from profiles. It counts less the longer the history is.
            interests: Split each history into so many groups of items that go together, at most, and ask the index for
                each: an item's score is then its best one, and the query of the answers that of the whole history.
                More than one goes with ``stages="retrieval"``.
            least: What weighs less was disliked: half of the largest weight of the ratings learned from when None, or
                of the same history where nothing was learned. Give 0 where weights are no ratings.

        Raises:
            UnknownItemError: When an id is not in the bundle.
            InputError: When a history is empty and nothing was learned from interactions, profiles cannot be used, or a
                user is not in the log.
            ShapeError: When weights, times or profiles and histories do not fit.
        """
        exclude_seen = check_flag(exclude_seen, "exclude_seen")
        users = self._users(histories, user_ids, weights, times)
        _check(stages, interests, two=isinstance(self.reranker, SecondStage))
        least = users.least if least is None else check_number(least, "least", "give a number, or None")
        new = self.new_queries(profiles, len(users.rows))
        if stages == "retrieval" or not isinstance(self.reranker, SecondStage):
            return self._retrieved(users, k, where, exclude_seen, new, interests, least)
        if not self.reranker.new_items and self._only_new(where):
            return self._retrieved(users, k, where, exclude_seen, new, interests, least)
        stage, allow = self.reranker.liking(least), self._allowed(where)
        exclude = None if exclude_seen else [NO_ROWS] * len(users.rows)
        found = stage.recommend(
            self._asked(stage, users, new), self.items, exclude=exclude, allow=allow, names=users.user_ids
        )
        found = self._known(found)
        short = check_k(k) > stage.each and found.rows.shape[1] - (found.rows < 0).sum(axis=1).max(initial=0) < k
        if short:  # a list longer than what the sources bring up
            found = found.followed_by(self._retrieved(users, k, where, exclude_seen, new, 1, least))
        return found.top(k)

    def pool(
        self,
        histories: Histories,
        each: int | None = None,
        *,
        where: Where = (),
        exclude_seen: bool = True,
        user_ids: Sequence[str] = (),
        weights: Sequence[Sequence[float]] | None = None,
        times: int | Sequence[int] | None = None,
        profiles: Given | None = None,
    ) -> Candidates:
        """Give each user the candidates of all sources of the second stage, for `rerank`; see `recommend`.

        Args:
            histories: As for `recommend`.
            each: Candidates that a source may give; as many as where the head learned when None.
            where: What every candidate satisfies.
            exclude_seen: Leave out the items of the history.
            user_ids: As for `recommend`.
            weights: As for `recommend`.
            times: As for `recommend`.
            profiles: As for `recommend`.

        Raises:
            InputError: When no second stage was learned.
        """
        if not isinstance(self.reranker, SecondStage):
            raise InputError("this bundle has no second stage, so no sources; call recommend, or learn one with `fit`")
        exclude_seen, each = (
            check_flag(exclude_seen, "exclude_seen"),
            each if each is None else check_whole(each, "each"),
        )
        users = self._users(histories, user_ids, weights, times)
        stage, new = self.reranker.liking(users.least), self.new_queries(profiles, len(users.rows))
        exclude, many = None if exclude_seen else [NO_ROWS] * len(users.rows), stage.each if each is None else each
        asked, allow = self._asked(stage, users, new), self._allowed(where)
        found = stage.pool(asked, self.items, many, users.user_ids, exclude=exclude, allow=allow)
        return self._known(found)

    def _users(
        self,
        given: Histories,
        user_ids: Sequence[str],
        weights: Sequence[Sequence[float]] | None,
        times: int | Sequence[int] | None,
    ) -> UserHistories:
        """Take histories as lists or as a log."""
        if (log := as_log(given)) is None:
            return UserHistories.of_lists(given, self.items, user_ids, weights).asking_at(times)
        if weights is not None:
            raise InputError("a log says how much each item was liked; leave out weights, or give histories as lists")
        return UserHistories.of_log(log, self.items, user_ids).asking_at(times)

    def _asked(self, stage: SecondStage, users: UserHistories, new: Vectors | None) -> Asked:
        """Give users as the sources of the second stage take them."""
        facts = stage.features.facts
        liked = users.weights or [np.full(len(rows), stage.features.usual, np.float32) for rows in users.rows]
        times = np.full(len(users.rows), facts.now, np.int64) if users.times is None else users.times
        return Asked(users.rows, liked, times, new, users.idle)

    def _known(self, found: Candidates) -> Candidates:
        """Let answers know what was learned from."""
        among = None if found.among is None else replace(found.among, learned=self.learned.learned_from)
        return replace(found, learned=self.learned.learned_from, among=among)

    def _retrieved(
        self,
        users: UserHistories,
        k: int,
        where: Where,
        exclude_seen: bool,
        new: Vectors | None,
        interests: int,
        least: float | None,
    ) -> Candidates:
        """Answer by the index alone."""
        rows, liked_of = users.rows, users.weights
        exclude = rows if exclude_seen else []
        asked = {"returning": users.idle is not None, "new_items": self._only_new(where)}
        queries = self.user_queries(rows, liked_of, new, least, **asked)
        if interests == 1:
            found = self._found(queries, k, where, exclude, kind="history")
        else:
            split = [split_history(self.indexed, history, interests) for history in rows]
            parts = [history[places] for history, groups in zip(rows, split, strict=True) for places in groups]
            liked = None if liked_of is None else parts_of(liked_of, split)
            of_parts = None if new is None else np.repeat(new, lengths_of(split), axis=0)
            seen = [history for history, groups in zip(exclude, split, strict=False) for _ in groups]
            of_groups = self.user_queries(parts, liked, of_parts, least, **asked)
            each = self._found(of_groups, k, where, seen, kind="history")
            scores, best = best_of(each.scores, each.rows, [len(groups) for groups in split], each.rows.shape[1])
            found = Candidates(queries, best, scores, self.items, "retrieve")
        return replace(
            found,
            query_ids=users.user_ids or found.query_ids,
            histories=tuple(rows),
            weights=tuple(liked_of or ()),
            times=users.times,
            new=new,
            idle=users.idle,
            learned=self.learned.learned_from,
        )

    def user_queries(
        self,
        histories: Sequence[Rows],
        weights: Sequence[Sequence[float] | Vectors] | None = None,
        new: Vectors | None = None,
        least: float | None = None,
        *,
        returning: bool = False,
        new_items: bool = False,
    ) -> Vectors:
        """Give what asks the index for a user: (B, D + R) float32; see `recommend`.

        Args:
            histories: B arrays of rows, oldest first.
            weights: How much each was liked.
            new: What `new_queries` gives of their profiles.
            least: What weighs less was disliked.
            returning: Whether users come back, rather than go on with a visit.
            new_items: Whether they are to be shown items that nobody has met, and nothing else.
        """
        past_rows(histories, len(self.items))
        returning, new_items = check_flag(returning, "returning"), check_flag(new_items, "new_items")
        if least is not None:
            check_number(least, "least", "give a number, or None")
        if new is not None and self.behaviour is not None:
            new = check_array(new, "new", np.float32, "give what new_queries gives")
            if new.shape != (wanted := (len(histories), self.behaviour.items.shape[1])):
                raise ShapeError(f"new is of shape {new.shape}, expected {wanted}; give what new_queries gives")
        given = None if weights is None else finite_weights(weights, histories)
        space = self._rows.space.liking(least)
        if new_items:
            space = space.for_new_items
        elif returning:
            space = space.for_returning
        return space.asked(histories, given, self.centre, new)

    def new_queries(self, profiles: Given | None, count: int) -> Vectors | None:
        """Give what so many users would ask behaviour with, had they done nothing: (B, R) float32; see `recommend`."""
        count = check_whole(count, "count", 0)
        if profiles is None:
            return None
        if (taste := self._rows.space.profiles) is None:
            raise InputError("this bundle has not learned from profiles; leave them out, or give some to `fit`")
        if len(table := taste.table(profiles)) != count:
            raise ShapeError(f"{len(table)} profiles for {count} histories; give one for each, an empty one will do")
        return taste.queries(table)

    def _candidates(
        self, queries: Vectors, k: int, where: Where, exclude: Sequence[Rows] = (), kind: str | None = None
    ) -> Candidates:
        """Find by content alone."""
        return self._found(self._rows.space.searched(queries), k, where, exclude, kind)

    def _found(
        self, queries: Vectors, k: int, where: Where, exclude: Sequence[Rows] = (), kind: str | None = None
    ) -> Candidates:
        allow = allowed(self.bundle.attributes, where)
        search = retrieve_tastes if kind == "history" else retrieve
        scores, rows = search(self.index, queries, k, exclude=exclude, allow=allow, kind=kind)
        return Candidates(queries, rows, scores, self.items, "retrieve")

    def _only_new(self, where: Where) -> bool:
        """Say whether a filter leaves items, and of these only such as nobody has met."""
        rows = np.flatnonzero(allow) if (allow := allowed(self.bundle.attributes, where)) is not None else NO_ROWS
        rows = rows[self.bundle.alive[rows]]
        return bool(len(rows)) and bool(self._rows.space.is_new(rows).all())

    def _allowed(self, where: Where) -> Mask | None:
        """Give the rows that may be answers, None for all: not deleted, and as the filter wants them."""
        alive, wanted = self.bundle.alive, allowed(self.bundle.attributes, where)
        if alive.all():
            return wanted
        mask: Mask = alive if wanted is None else alive & wanted
        return mask


def _check(stages: Stages, interests: int, *, two: bool) -> None:
    """Check how `recommend` is asked.

    Raises:
        InputError: When it cannot answer so.
    """
    check_choice(stages, "stages", get_args(Stages))
    check_whole(interests, "interests")
    if interests > 1 and two and stages == "all":
        raise InputError(
            f"{interests} interests split what the index is asked; the second stage of this bundle splits nothing",
            python='give stages="retrieval" with interests',
            cli="give --no-rerank",
        )
