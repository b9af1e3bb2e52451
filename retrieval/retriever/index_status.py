"""The recall of an opened index, compared with the recall that it had when it was built."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from indexing.arrays import Vectors
from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import RECALL_CHECK
from indexing.bundle.manifest import Manifest
from indexing.errors import CommonspaceWarning
from indexing.filesystem.checked_files import REPAIR_HINT, read_as
from indexing.index import VectorIndex
from indexing.index.tuning.recall import RecallCheck
from indexing.media.files import Modality
from indexing.runtime.warn import warn

if TYPE_CHECKING:  # FAISS is loaded only by those who search
    from indexing.index.delta_codes import AddedCodes

# Tolerance of the recall on a few dozen stored queries: another processor may round and order ties differently.
SLACK = 0.02


class DegradedIndexWarning(CommonspaceWarning):
    """The recall of an index is below its target."""


class UnmeasuredQueriesWarning(CommonspaceWarning):
    """Queries are of a kind that the index was not tuned for, and nobody knows what share of the best they find."""


TEXTS_UNMEASURED = (
    "none was asked when the index was tuned, as no item has a text; give some that users searched for to a build "
    "(--sample-queries FILE, queries={'text': [...]})"
)


def texts_are_unmeasured(manifest: Manifest) -> bool:
    """Say whether texts may be asked, lie apart from what is indexed, and were not asked when the index was tuned.

    That is so where items have pictures or sounds alone, and the index does not scan all of them. Texts of items
    without pictures are indexed as they are, and were asked as items.
    """
    encoder, index = manifest.encoder, manifest.index
    can_be_asked = encoder.precomputed or Modality.TEXT in encoder.modalities
    scans_all = index["kind"].endswith("flat")
    has_texts = manifest.counts["embeddings"].get(str(Modality.TEXT), 0) > 0
    return can_be_asked and not (encoder.separate or scans_all or has_texts or Modality.TEXT in index.get("recall", {}))


@dataclass(frozen=True)
class Status:
    """The recall of an index, measured when it was opened or soon after.

    Attributes:
        recall: Recall on the stored queries of each kind; empty for a bundle without any.
        degraded: Whether the recall of any kind of query is below its target.
        reasons: The kinds of query that are below, with their recall.
        measured: Whether it was measured already; in the background it is once all files were compared.
        added: Recall of each kind of query among added rows that are searched by codes; empty where they are scanned
            exactly, as they are where codes would be below the target.
    """

    recall: Mapping[str, float] = field(default_factory=dict)
    degraded: bool = False
    reasons: tuple[str, ...] = ()
    measured: bool = True
    added: Mapping[str, float] = field(default_factory=dict)

    def with_added(self, codes: "AddedCodes | None") -> "Status":
        """Give the status of an index with changes."""
        return replace(self, added=dict(codes.recall) if codes is not None and codes.reached else {})

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return asdict(self)


class MeasuredRecall:
    """The status of an index, measured once; safe to share between threads.

    Args:
        measure: Measures it.
    """

    def __init__(self, measure: Callable[[], Status]) -> None:
        self._measure: Callable[[], Status] | None = measure
        self._lock = threading.Lock()
        self._status: Status | None = None

    def measure(self) -> Status:
        """Measure, if that was not done yet."""
        with self._lock:
            if self._status is None and self._measure is not None:
                self._status = self._measure()
                self._measure = None  # what it holds is free to go
            return self._status or Status(measured=False)

    def now(self, *, wait: bool) -> Status:
        """Give the status; without waiting for it what is known, which may be that nothing was measured yet."""
        if self._status is None and not wait:
            return Status(measured=False)
        return self.measure()


def measured_status(bundle: Bundle, index: VectorIndex, vectors: Vectors) -> Status:
    """Measure an index of a bundle over its (N, D) vectors with the queries stored at build; warn when it is degraded.

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
    status = Status(recall, bool(reasons), tuple(reasons))
    if status.degraded:
        message = f"the index of {bundle.root} is degraded: {'; '.join(reasons)}; build the bundle again"
        warn(message, DegradedIndexWarning)
    return status


def stored_recall_check(bundle: Bundle) -> RecallCheck:
    """Read the queries stored at build; empty for a bundle that has none."""
    return RecallCheck.from_bytes(bundle.read(RECALL_CHECK)) if bundle.has(RECALL_CHECK) else RecallCheck({}, {})
