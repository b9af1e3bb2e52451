"""The item side that learns: a small residual on the frozen vectors, applied in numpy."""

from dataclasses import dataclass

import numpy as np
from safetensors.numpy import load, save

from indexing.encoders.base import unit
from indexing.errors import DamagedFileError
from indexing.types import Vectors

ADAPTER = "adapter.safetensors"


@dataclass(frozen=True, eq=False)
class Adapter:
    """Maps fused vectors ``f`` to item vectors ``z = unit(f + tanh(f w1 + b1) w2)``.

    With ``w2 = 0``, as before any training, it gives the frozen vectors: zero-shot quality is the floor.

    Attributes:
        w1: (D, H) float32.
        b1: (H,) float32.
        w2: (H, D) float32.
    """

    w1: Vectors
    b1: Vectors
    w2: Vectors

    @classmethod
    def identity(cls, dim: int, hidden: int, rng: np.random.Generator) -> "Adapter":
        """Give an untrained adapter: random features, no effect.

        >>> adapter = Adapter.identity(4, 2, np.random.default_rng(0))
        >>> adapter.apply(np.eye(4, dtype=np.float32)[:1]).tolist()
        [[1.0, 0.0, 0.0, 0.0]]
        """
        w1 = rng.normal(size=(dim, hidden)).astype(np.float32)  # inputs have length 1, so f w1 has variance 1
        return cls(w1, np.zeros(hidden, np.float32), np.zeros((hidden, dim), np.float32))

    def apply(self, fused: Vectors) -> Vectors:
        """Map (N, D) float32 unit vectors to (N, D) float32 unit vectors."""
        return unit(fused + np.tanh(fused @ self.w1 + self.b1) @ self.w2)

    def to_bytes(self) -> bytes:
        """Give the weights as safetensors."""
        return save({"w1": self.w1, "b1": self.b1, "w2": self.w2})

    @classmethod
    def from_bytes(cls, data: bytes, dim: int) -> "Adapter":
        """Read what `to_bytes` gave, for vectors of length ``dim``.

        Raises:
            DamagedFileError: When the weights are for other vectors.
        """
        adapter = cls(**load(data))
        hidden = len(adapter.b1)
        if adapter.w1.shape != (dim, hidden) or adapter.w2.shape != (hidden, dim):
            raise DamagedFileError(f"adapter maps {adapter.w1.shape} to {adapter.w2.shape}, expected dimension {dim}")
        return adapter
