"""Boosted trees of LightGBM, stored as its own text."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from indexing.extras import import_extra
from indexing.types import Vectors
from retrieval.training.stage_config import HeadKind


@dataclass(frozen=True, eq=False)
class TreesHead:
    """A LightGBM model.

    Attributes:
        text: As LightGBM writes it; checked by LightGBM when it is read.

    Raises:
        MissingExtraError: Without the extra ``trees``.
    """

    text: str
    _booster: Any = field(init=False, repr=False)

    kind: ClassVar[HeadKind] = "trees"

    def __post_init__(self) -> None:
        lightgbm = import_extra("lightgbm", "trees")
        object.__setattr__(self, "_booster", lightgbm.Booster(model_str=self.text))

    @property
    def width(self) -> int:
        """F, how many features it reads."""
        return int(self._booster.num_feature())

    def score(self, features: Vectors) -> Vectors:
        """Map (…, F) float32 to (…) float32, higher is better."""
        lines = features.reshape(-1, features.shape[-1])
        if not len(lines):
            return np.zeros(features.shape[:-1], np.float32)
        scores: Vectors = self._booster.predict(lines).astype(np.float32).reshape(features.shape[:-1])
        return scores

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give the text as bytes."""
        return {"text": np.frombuffer(self.text.encode(), np.uint8)}

    @classmethod
    def read(cls, tensors: dict[str, NDArray[np.generic]]) -> "TreesHead":
        """Read what `tensors` gave."""
        return cls(tensors["text"].tobytes().decode())
