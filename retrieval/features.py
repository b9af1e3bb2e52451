"""What the reranking head sees of a user and a candidate, all from cached vectors and past counts."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from indexing.encoders.base import unit
from indexing.fusion import ModalityVectors
from indexing.types import Modality, Vectors
from retrieval.candidates import Candidates
from retrieval.users import UserModel

# How many of the last items of a history a candidate is compared with one by one.
COMPARED = 50
BLOCK = 256  # queries at a time


def log_popularity(counts: NDArray[np.int64]) -> Vectors:
    """Popularity of N items as log((count + 1) / (mean count + 1)): comparable between logs of any size."""
    logs: Vectors = np.log((counts + 1) / (counts.mean() + 1)).astype(np.float32)
    return logs


@dataclass(frozen=True, eq=False)
class FeatureSource:
    """Computes the features of candidates.

    Attributes:
        vectors: (N, D) float32, the item vectors.
        frozen: The frozen vectors of each modality.
        popularity: (N,) float32 from `log_popularity`, counted over the past of the queries only.
        users: The user model.
        modalities: Those that features are made of, if not those that any item has: what was learned with a modality
            goes on reading it when the last item with it is gone.
    """

    vectors: Vectors
    frozen: ModalityVectors
    popularity: Vectors
    users: UserModel
    modalities: tuple[Modality, ...] = ()
    _units: dict[Modality, Vectors] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = self.modalities or self.frozen.modalities
        object.__setattr__(self, "modalities", tuple(modality for modality in Modality if modality in given))
        self._units.update({m: unit(self.frozen.vectors[m]) for m in self.modalities})

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the F features, in order."""
        by_modality = [f"{m}_{what}" for m in self.modalities for what in ("cosine", "missing")]
        return ("score", "reciprocal_rank", "last_item", "nearest_item", "popularity", *by_modality)

    def of(self, candidates: Candidates) -> Vectors:
        """Give the features of B queries with K candidates each: (B, K, F) float32, zero for padding.

        Every query must have a history.
        """
        kept = candidates.rows >= 0
        rows = np.where(kept, candidates.rows, 0)
        features = np.zeros((*rows.shape, len(self.names)), np.float32)
        for line, history in enumerate(candidates.histories):
            recent = history[-COMPARED:]
            cosines = self.vectors[rows[line]] @ self.vectors[recent].T  # (K, H)
            features[line, :, 2] = cosines[:, -1]
            features[line, :, 3] = cosines.max(axis=1)
        features[:, :, 0] = np.where(kept, candidates.scores, 0)
        features[:, :, 1] = 1 / np.arange(1, rows.shape[1] + 1, dtype=np.float32)
        features[:, :, 4] = self.popularity[rows]
        for place, (modality, vectors) in enumerate(self._units.items()):
            tastes = self.users.taste(vectors, candidates.histories)
            features[:, :, 5 + 2 * place] = np.einsum("bkd,bd->bk", vectors[rows], tastes)
            features[:, :, 6 + 2 * place] = ~self.frozen.exists[modality][rows]
        features[~kept] = 0
        return features


def features_of(source: FeatureSource, candidates: Candidates) -> Vectors:
    """Give the features of many queries, (B, K, F) float32, some at a time: what is made on the way is large."""
    starts = range(0, len(candidates), BLOCK)
    blocks = (np.arange(start, min(start + BLOCK, len(candidates))) for start in starts)
    return np.concatenate([source.of(candidates.take(block)) for block in blocks])
