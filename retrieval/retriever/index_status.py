"""The recall of an opened index, compared with the recall that it had when it was built."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from indexing.arrays import Vectors
from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import RECALL_CHECK
from indexing.errors import CommonspaceWarning
from indexing.filesystem.checked_files import REPAIR_HINT, read_as
from indexing.index import VectorIndex
from indexing.index.tuning.recall import RecallCheck
from indexing.runtime.warn import warn

if TYPE_CHECKING:  # FAISS is loaded only by those who search
    from indexing.index.delta_codes import AddedCodes

# Tolerance of the recall on a few dozen stored queries: another processor may round and order ties differently.
SLACK = 0.02


class DegradedIndexWarning(CommonspaceWarning):
    """The recall of an index is below its target."""


@dataclass(frozen=True)
class Status:
    """The recall of an index, measured when it was opened.

    Attributes:
        recall: Recall on the stored queries of each kind; empty for a bundle without any.
        degraded: Whether the recall of any kind of query is below its target.
        reasons: The kinds of query that are below, with their recall.
        added: Recall of each kind of query among added rows that are searched by codes; empty where they are scanned
            exactly, as they are where codes would be below the target.
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


def measured_status(bundle: Bundle, index: VectorIndex, vectors: Vectors) -> Status:
    """Measure an index of a bundle over its (N, D) vectors with the queries stored at build.

    The stored queries are few. They count as below the target only where their recall is below what it was when the
    index was built.
    """
    index_info = bundle.manifest.index
    with read_as(f"the recall check of {bundle.folder}", REPAIR_HINT):
        target = bundle.manifest.index_config().min_recall
        reasons = [
            f"recall of {kind} was {built:.3f} < {target} when it was built"
            for kind, built in index_info.get("recall", {}).items()
            if built < target
        ]
    recall_check = stored_recall_check(bundle)
    with read_as(f"the recall check of {bundle.folder}", REPAIR_HINT):
        recall = recall_check.measure(index, vectors)
    reasons += [
        f"recall of {kind} is {measured:.3f} on {len(recall_check.ground_truth[kind].queries)} stored queries, "
        f"was {recall_check.recall[kind]:.3f} when it was built and is promised to be {target}"
        for kind, measured in recall.items()
        if measured < min(target, recall_check.recall[kind]) - SLACK
    ]
    return Status(recall, bool(reasons), tuple(reasons))


def stored_recall_check(bundle: Bundle) -> RecallCheck:
    """Read the queries stored at build; empty for a bundle that has none."""
    return RecallCheck.from_bytes(bundle.read(RECALL_CHECK)) if bundle.has(RECALL_CHECK) else RecallCheck({}, {})


def warn_if_degraded(status: Status, bundle: Bundle) -> None:
    """Warn when the recall of an index is below its target."""
    if status.degraded:
        reasons = "; ".join(status.reasons)
        message = f"the index of {bundle.root} is degraded: {reasons}; build the bundle again"
        warn(message, DegradedIndexWarning)
