"""Which requests the heads of a second stage order, in words, as JSON, and as a warning."""

from dataclasses import dataclass, field
from typing import Any

from indexing.errors import CommonspaceWarning
from indexing.runtime.warn import warn
from retrieval.interactions.context import ContextColumns, range_edges
from retrieval.ranking.reranker import Reranker
from retrieval.ranking.second_stage import OWN_HEAD, RETRIEVAL, VISIT_HEAD, SecondStage

NUM_VALUES = 8  # of a column of the context that are named in words


class ReturningUsersWarning(CommonspaceWarning):
    """Requests have a time, and no head was published for users who return."""


@dataclass(frozen=True)
class PublishedHeads:
    """What orders the candidates of each kind of request.

    Attributes:
        visits: ``"own head"``, for visits that go on.
        returning: For users who return: ``"own head"``, ``"head of visits"`` or ``"retrieval"``.
        new: For users without a history: the same.
        min_history: Shortest history of a visit that the head orders; shorter ones keep the order of retrieval.
        context: The columns of the context that were learned, with their values, most frequent first.
        context_readers: The kinds of requests whose head reads them: ``"visits"``, ``"returning"``, ``"new"``.
    """

    visits: str
    returning: str
    new: str
    min_history: int
    context: ContextColumns = field(default_factory=dict)
    context_readers: tuple[str, ...] = ()

    @classmethod
    def of(cls, stage: Reranker) -> "PublishedHeads | None":
        """Read them from a reranker; None where it is no learned second stage."""
        if not isinstance(stage, SecondStage):
            return None
        orders = stage.orders
        context = {} if stage.features.context is None else dict(stage.features.context.columns)
        readers = tuple(requests for requests in orders if stage.reads_context(requests))
        return cls(OWN_HEAD, orders["returning"], orders["new"], stage.min_history, context, readers)

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return {
            "heads": {"visits": self.visits, "returning": self.returning, "new": self.new},
            "min_history": self.min_history,
            "context": {name: list(values) for name, values in self.context.items()},
            "context_readers": list(self.context_readers),
        }

    def in_words(self) -> dict[str, str]:
        """Give lines for people: what orders, from which history on, and what is learned of the context."""
        lines = {
            "ordered by": f"visits: {self.visits}; returning users: {self.returning}; new users: {self.new}",
            "shortest history": _shortest(self.min_history),
        }
        if self.context:
            columns = "; ".join(f"{name}{_kind(values)}: {_values(values)}" for name, values in self.context.items())
            lines["context"] = f"{columns} (read for {', '.join(self.context_readers) or 'no request'})"
        return lines

    def __str__(self) -> str:
        heads = f"visits by {self.visits}, returning users by {self.returning}, new users by {self.new}"
        return heads + (f", context {', '.join(self.context)}" if self.context else "")


def warn_without_returning(stage: Reranker, *, has_weights: bool) -> None:
    """Warn that requests with a time are answered without a head for users who return, and say by what.

    A head that orders users without a history too was trained at one moment for all users, so that it is one for those
    who return.

    Args:
        stage: What orders the candidates.
        has_weights: Whether retrieval has query weights of its own for users who return.
    """
    heads = PublishedHeads.of(stage)
    if heads is None and not has_weights:
        _warn("the times of the requests change nothing: this bundle has learned nothing of users who return")
    elif heads is not None and heads.returning == RETRIEVAL:
        _warn("users who return at the times given keep the order of retrieval: this bundle has no head for them")
    elif heads is not None and heads.returning == VISIT_HEAD and heads.min_history:
        _warn(
            "this bundle has no head for users who return at the times given, so that the head of visits orders them; "
            "`fit` trains one where a log has times and enough users"
        )


def _warn(text: str) -> None:
    warn(text, ReturningUsersWarning)


def _shortest(min_history: int) -> str:
    if min_history > 1:
        return f"{min_history} items for the head of visits; shorter ones keep the order of retrieval"
    return "1 item for the head of visits" if min_history else "none: the head of visits orders new users too"


def _kind(values: tuple[str, ...]) -> str:
    return "" if range_edges(values) is None else " (a number)"


def _values(values: tuple[str, ...]) -> str:
    more = len(values) - NUM_VALUES
    return ", ".join(values[:NUM_VALUES]) + (f" and {more} more" if more > 0 else "") if values else "no value"
