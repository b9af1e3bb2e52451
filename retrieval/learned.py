"""What a bundle has learned, opened from its files, and carried over when its rows change."""

from pathlib import Path

from indexing.bundle import Bundle
from indexing.compact import compact as compact_bundle
from indexing.fusion import ModalityVectors, fuse
from indexing.repair import RepairReport
from indexing.repair import repair as repair_bundle
from indexing.types import Rows, Vectors
from retrieval.adapter import ADAPTER, Adapter
from retrieval.rerank import RERANKER, ExactReranker, HeadReranker, Reranker, carried_over
from retrieval.users import UserModel


class LearnedParts:
    """Adapter, user model and reranker of a bundle's generation."""

    def __init__(self, bundle: Bundle) -> None:
        dim = bundle.manifest.encoder.dim
        self.adapter = Adapter.from_bytes(bundle.read(ADAPTER), dim) if bundle.has(ADAPTER) else None
        self.users = UserModel(**bundle.manifest.learned.get("user_model", {}))
        self._reranker = bundle.read(RERANKER) if bundle.has(RERANKER) else None

    def project(self, items: ModalityVectors) -> Vectors:
        """Give the item vectors, (N, D) float32, of frozen ones."""
        return self.adapter.apply(items) if self.adapter else fuse(items)

    def reranker(self, vectors: Vectors, frozen: ModalityVectors, origins: Rows) -> Reranker:
        """Give what orders candidates: the learned head if there is one.

        Args:
            vectors: (N, D) float32, the item vectors.
            frozen: The frozen vectors of the same rows.
            origins: (M,) int64, for each of the last M rows, added after learning, the one that had the same item
                before, or -1.
        """
        if self._reranker is None:
            return ExactReranker(vectors)
        return HeadReranker.from_bytes(self._reranker, vectors, frozen, self.users, origins)

    def files(self, bundle: Bundle) -> dict[str, bytes]:
        """Give the learned files that have a line for each row, for the living rows of a bundle."""
        if self._reranker is None:
            return {}
        return {RERANKER: carried_over(self._reranker, bundle.origins, bundle.alive)}


def compact(root: Path | str) -> Bundle:
    """Fold the changes since the generation in force into a new one, as `indexing.compact.compact` says."""
    return compact_bundle(root, LearnedParts)


def repair(root: Path | str, *, drop_changes: bool = False) -> RepairReport:
    """Mend a bundle as far as its vectors allow, as `indexing.repair.repair` says."""
    return repair_bundle(root, LearnedParts, drop_changes=drop_changes)
