"""Boosted trees of LightGBM, stored as its own text."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Vectors
from indexing.errors import DamagedFileError, import_extra
from retrieval.ranking.heads.base import HeadKind
from retrieval.ranking.heads.tree_text import sound_trees


@dataclass(frozen=True, eq=False)
class TreesHead:
    """A LightGBM model.

    Attributes:
        text: As LightGBM writes it; checked before LightGBM reads it.

    Raises:
        DamagedFileError: When the text is not that of sound trees.
        MissingExtraError: Without the extra ``trees``.
    """

    text: str
    _booster: Any = field(init=False, repr=False)

    kind: ClassVar[HeadKind] = "trees"

    def __post_init__(self) -> None:
        lightgbm = import_extra("lightgbm", "trees")
        try:
            booster = lightgbm.Booster(model_str=sound_trees(self.text))
        except lightgbm.basic.LightGBMError as error:
            raise DamagedFileError(f"the trees of the second stage cannot be read ({error}); fit again") from error
        object.__setattr__(self, "_booster", booster)

    @property
    def width(self) -> int:
        """F, the number of features."""
        return int(self._booster.num_feature())

    def score(self, features: Vectors) -> Vectors:
        """Map (…, F) float32 to (…) float32, higher is better."""
        flat = features.reshape(-1, features.shape[-1])
        if not len(flat):
            return np.zeros(features.shape[:-1], np.float32)
        # One thread: blocks of queries are scored in a pool of threads, each of which would start one for every core.
        scores: Vectors = self._booster.predict(flat, num_threads=1).astype(np.float32)
        return scores.reshape(features.shape[:-1])

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give the text as bytes."""
        return {"text": np.frombuffer(self.text.encode(), np.uint8)}

    @classmethod
    def read(cls, tensors: dict[str, NDArray[np.generic]]) -> "TreesHead":
        """Read what `tensors` gave."""
        return cls(tensors["text"].tobytes().decode())
