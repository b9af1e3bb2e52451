"""The item side that learns: a gate over modalities and a small residual on the frozen vectors, applied in numpy."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from indexing.arrays import Vectors, unit
from indexing.errors import DamagedFileError, InputError
from indexing.filesystem import fsops
from indexing.filesystem.checked_files import finite_tensors, read_as
from indexing.media.files import Modality
from indexing.store.collect import ModalityVectors


@dataclass(frozen=True, eq=False)
class ModalityGate:
    """A softmax over the modalities that an item has, linear in the vector of each.

    A modality that it does not know, and each one before any training, stands at 0: then they count by the weights that
    the items came with, as in `indexing.store.collect.fuse`, to the last bit.

    Attributes:
        slopes: For each modality (D,) float32.
        offsets: For each modality (1,) float32.
    """

    slopes: Mapping[Modality, Vectors] = field(default_factory=dict)
    offsets: Mapping[Modality, Vectors] = field(default_factory=dict)

    def weigh(self, items: ModalityVectors) -> tuple[Vectors, Vectors]:
        """Give the fused vectors of N items, (N, D) float32 of unit length, and the weights of their M modalities.

        Weights are (N, M) float32 in the order of ``items.vectors``. They add up to 1; one of a modality that an item
        lacks is 0, as are all of an item without any.
        """
        units = [unit(vectors) for vectors in items.vectors.values()]
        exists = np.stack([items.exists[modality] for modality in items.vectors], axis=1)
        logits = np.stack([self._logits(m, v) for m, v in zip(items.vectors, units, strict=True)], axis=1)
        highest = np.where(exists, logits, -np.inf).max(axis=1, keepdims=True)
        # What is missing may not reach the exponential: its level can be above that of all there is.
        odds: Vectors = np.where(exists, np.exp(np.where(exists, logits - highest, 0)), 0).astype(np.float32)
        odds = odds * np.array([items.weights.get(modality, 1.0) for modality in items.vectors], np.float32)
        fused = np.zeros_like(units[0])
        for index, vectors in enumerate(units):
            fused += vectors * odds[:, index, None]
        total = odds.sum(axis=1, keepdims=True)
        weights = (odds / np.where(total > 0, total, 1)).astype(np.float32)
        return unit(fused), weights

    def with_strength(self, strength: float) -> "ModalityGate":
        """Give what lies between equal weights (0) and this gate (1)."""
        factor = np.float32(strength)
        slopes = {modality: slope * factor for modality, slope in self.slopes.items()}
        return ModalityGate(slopes, {modality: offset * factor for modality, offset in self.offsets.items()})

    def _logits(self, modality: Modality, vectors: Vectors) -> Vectors:
        if modality not in self.slopes:
            return np.zeros(len(vectors), np.float32)
        logit: Vectors = vectors @ self.slopes[modality] + self.offsets[modality]
        return logit


ADAPTER = "adapter.safetensors"
CONFIG = "config.json"
FORMAT = "commonspace-adapter-1"
# Items mapped at once: a few arrays of 16,384 x 1,024 float32 are 64 MB each, however many items there are.
BLOCK = 16_384


@dataclass(frozen=True, eq=False)
class Adapter:
    """Maps the frozen vectors of an item to its vector ``z = unit(f + tanh(f w1 + b1) w2)``, ``f`` fused by the gate.

    With ``w2`` and the gate 0, as before any training, it gives what `indexing.store.collect.fuse` does, to the bit:
    zero-shot quality is the floor.

    Attributes:
        w1: (D, H) float32.
        b1: (H,) float32.
        w2: (H, D) float32.
        gate: Weighs the modalities of an item.
    """

    w1: Vectors
    b1: Vectors
    w2: Vectors
    gate: ModalityGate

    @classmethod
    def identity(
        cls, dim: int, hidden: int, rng: np.random.Generator, modalities: tuple[Modality, ...] = ()
    ) -> "Adapter":
        """Give an untrained adapter: random features, no effect.

        >>> adapter = Adapter.identity(4, 2, np.random.default_rng(0))
        >>> items = ModalityVectors(
        ...     {Modality.TEXT: np.eye(4, dtype=np.float16)[:1]}, {Modality.TEXT: np.array([True])}
        ... )
        >>> adapter.apply(items).tolist()
        [[1.0, 0.0, 0.0, 0.0]]
        """
        w1 = rng.normal(size=(dim, hidden)).astype(np.float32)  # inputs have length 1, so f w1 has variance 1
        gate = ModalityGate(
            {modality: np.zeros(dim, np.float32) for modality in modalities},
            {modality: np.zeros(1, np.float32) for modality in modalities},
        )
        return cls(w1, np.zeros(hidden, np.float32), np.zeros((hidden, dim), np.float32), gate)

    def apply(self, items: ModalityVectors) -> Vectors:
        """Give the vectors of N items: (N, D) float32, unit length."""
        vectors = np.empty((items.count, len(self.w1)), np.float32)
        changes = self.w2.any()  # if not, normalising again would move the last bit
        for block in _blocks(items.count):
            fused, _ = self.gate.weigh(items.take(block))
            vectors[block] = unit(fused + np.tanh(fused @ self.w1 + self.b1) @ self.w2) if changes else fused
        return vectors

    def modality_weights(self, items: ModalityVectors) -> Vectors:
        """Give the weight of each modality: (N, M) float32 in the order of ``items.vectors``.

        Each row sums to 1. A modality that an item lacks has weight 0; so has every one of an item without any.
        """
        weights = np.empty((items.count, len(items.vectors)), np.float32)
        for block in _blocks(items.count):
            weights[block] = self.gate.weigh(items.take(block))[1]
        return weights

    def with_strength(self, strength: float) -> "Adapter":
        """Give what lies between the frozen model (0) and this adapter (1)."""
        return Adapter(self.w1, self.b1, self.w2 * np.float32(strength), self.gate.with_strength(strength))

    def to_bytes(self) -> bytes:
        """Give the weights as safetensors."""
        tensors = {"w1": self.w1, "b1": self.b1, "w2": self.w2}
        for modality, slope in self.gate.slopes.items():
            tensors |= {f"gate.{modality}.slope": slope, f"gate.{modality}.offset": self.gate.offsets[modality]}
        return save(tensors)

    @classmethod
    def from_bytes(cls, data: bytes, dim: int) -> "Adapter":
        """Read what `to_bytes` gave, for vectors of length ``dim``.

        Raises:
            DamagedFileError: When the weights are for other vectors, or parts are missing.
        """
        with read_as("the adapter", "fit again, or go back"):
            tensors = finite_tensors(data)
            w1, b1, w2 = (tensors[name] for name in ("w1", "b1", "w2"))
            modalities = [modality for modality in Modality if f"gate.{modality}.slope" in tensors]
            gate = ModalityGate(
                {modality: tensors[f"gate.{modality}.slope"] for modality in modalities},
                {modality: tensors[f"gate.{modality}.offset"] for modality in modalities},
            )
            hidden = len(b1)
        if w1.shape != (dim, hidden) or w2.shape != (hidden, dim):
            raise DamagedFileError(f"adapter maps {w1.shape} to {w2.shape}, expected dimension {dim}")
        if wrong := [m for m in modalities if gate.slopes[m].shape != (dim,) or gate.offsets[m].shape != (1,)]:
            raise DamagedFileError(f"the gate of {wrong[0]} has {gate.slopes[wrong[0]].shape}, expected ({dim},)")
        return cls(w1, b1, w2, gate)

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the weights and their description into a folder."""
        folder = Path(folder)
        dim, hidden = self.w1.shape
        config = {"format": FORMAT, "dim": dim, "hidden": hidden, "modalities": list(self.gate.slopes)}
        fsops.make_folder(folder)
        fsops.write_bytes(folder / ADAPTER, self.to_bytes())
        fsops.write_bytes(folder / CONFIG, json.dumps(config, indent=2).encode())

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> "Adapter":
        """Read what `save_pretrained` wrote; torch is not needed.

        Raises:
            InputError: When there is no adapter in the folder, or one of another format.
            DamagedFileError: When config and weights do not fit.
        """
        folder = Path(folder)
        try:
            config, data = json.loads((folder / CONFIG).read_bytes()), (folder / ADAPTER).read_bytes()
        except FileNotFoundError as error:
            raise InputError(f"{folder} holds no adapter: there is no {Path(error.filename).name}") from error
        except ValueError as error:
            raise DamagedFileError(f"{folder / CONFIG} is no JSON; save the adapter again") from error
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            raise InputError(f"{folder / CONFIG} does not say that it is a {FORMAT}; save the adapter again")
        return cls.from_bytes(data, config.get("dim", 0))


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, BLOCK):
        yield slice(start, start + BLOCK)
