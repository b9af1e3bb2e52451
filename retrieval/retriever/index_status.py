"""Whether an index that was opened still keeps what was promised when it was built."""

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from indexing.arrays import Vectors
from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import PROMISE
from indexing.filesystem.checked_files import WAY_OUT, read_as
from indexing.index.tuning.recall import Promise

if TYPE_CHECKING:  # FAISS is loaded only by those who search
    from indexing.index.delta_codes import AddedCodes

# Of the recall on some dozen stored queries: another processor rounds otherwise, and may order equals otherwise.
SLACK = 0.02


class DegradedIndexWarning(UserWarning):
    """An index finds less than was promised."""


@dataclass(frozen=True)
class Status:
    """What an index was measured to find when it was opened.

    Attributes:
        recall: Recall on the stored queries of each kind; empty for a bundle without any.
        degraded: Whether any kind of query finds less than was promised.
        reasons: Which, and how much less.
        added: Recall on queries of each kind among rows that were added and are found by codes; empty when they are
            scanned, as they are where codes would find less than was promised.
    """

    recall: Mapping[str, float] = field(default_factory=dict)
    degraded: bool = False
    reasons: tuple[str, ...] = ()
    added: Mapping[str, float] = field(default_factory=dict)

    def with_added(self, codes: "AddedCodes | None") -> "Status":
        """Give the status of an index with changes."""
        return replace(self, added=dict(codes.recall) if codes is not None and codes.reached else {})

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return asdict(self)


def measured_status(bundle: Bundle, vectors: Vectors) -> Status:
    """Measure the index of a bundle over its (N, D) vectors with the queries stored at build.

    A few queries say less than the many that it was tuned on: they count as below the promise only where they find less
    than they did when the index was built.
    """
    told = bundle.manifest.index
    with read_as(f"the promise of {bundle.folder}", WAY_OUT):
        target = bundle.manifest.index_config().min_recall
        below = [
            f"recall of {kind} was {built:.3f} < {target} when it was built"
            for kind, built in told.get("recall", {}).items()
            if built < target
        ]
    promise = promise_of(bundle)
    with read_as(f"the promise of {bundle.folder}", WAY_OUT):
        recall = promise.measure(bundle.index, vectors)
    below += [
        f"recall of {kind} is {now:.3f} on {len(promise.ground_truth[kind].queries)} stored queries, "
        f"was {promise.recall[kind]:.3f} when it was built and is promised to be {target}"
        for kind, now in recall.items()
        if now < min(target, promise.recall[kind]) - SLACK
    ]
    return Status(recall, bool(below), tuple(below))


def promise_of(bundle: Bundle) -> Promise:
    """Read the queries stored at build; without any for a bundle that has none."""
    return Promise.from_bytes(bundle.read(PROMISE)) if bundle.has(PROMISE) else Promise({}, {})


def warn_if_degraded(status: Status, bundle: Bundle) -> None:
    """Warn once when an index finds less than was promised."""
    if status.degraded:
        reasons = "; ".join(status.reasons)
        message = f"the index of {bundle.root} is degraded: {reasons}; build the bundle again"
        warnings.warn(message, DegradedIndexWarning, stacklevel=4)
