"""One item vector from modalities of different spaces: each is mapped into a part of its own, by a learned linear map.

    text   (384 numbers)  ─ unit length, centred, turned ─►  [ 0 … 255 |           ]
    image  (4,096)        ─ the same with its own map    ─►  [         | 256 … 511 ]

The parts do not overlap, so that the inner product of vectors of two modalities is exactly zero and says nothing; that
of two vectors of one modality is the cosine of what is left of them after centring.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from indexing.arrays.types import Vectors
from indexing.arrays.vectors import unit
from indexing.catalogue.vectors import units
from indexing.errors import DamagedFileError, SeparateSpacesError, ShapeError
from indexing.filesystem.checked_files import read_as
from indexing.media.files import Modality

LEAST_SPREAD = 1e-4  # vectors that are all alike say next to nothing, but an item may have no others
SMALLEST = 1e-5  # what is shorter after centring is rounding, beside a vector of length 1


@dataclass(frozen=True, eq=False)
class Space:
    """The learned map of one modality, from vectors of length S to K numbers.

    Attributes:
        mean: (S,) float32, taken away from a vector of unit length.
        axes: (S, K) float32, orthonormal columns; which span everything where K is S.
        spread: Mean square of what the axes keep of a vector of length 1, after its mean was taken away.
        kept: Share of the vectors' variance around their mean that the axes keep.
        learned_from: Number of vectors that it was learned from.
    """

    mean: Vectors
    axes: Vectors
    spread: float
    kept: float
    learned_from: int

    @property
    def weight(self) -> float:
        """How much it counts in an item: the length that is left of a vector, its mean taken away.

        So that an item is, but for each vector's own length, what centring makes of the vectors side by side.
        """
        return math.sqrt(max(self.spread, LEAST_SPREAD))

    def apply(self, vectors: Vectors) -> Vectors:
        """Map (N, S) finite vectors, none of them zero: (N, K) float32 of unit length; zero if nothing is left."""
        centred = (units(vectors) - self.mean).astype(np.float32)
        mapped = centred @ self.axes
        mapped[np.linalg.norm(mapped, axis=1) < SMALLEST] = 0
        return unit(mapped)


class Spaces:
    """The maps of all modalities, side by side in one vector.

    Args:
        spaces: The map of each modality.

    >>> half = Space(np.zeros(2, np.float32), np.eye(2, dtype=np.float32), 1.0, 1.0, 5)
    >>> spaces = Spaces({Modality.TEXT: half, Modality.IMAGE: half})
    >>> spaces.apply(Modality.IMAGE, np.array([[0, 3]], np.float32)).tolist()
    [[0.0, 0.0, 0.0, 1.0]]
    """

    def __init__(self, spaces: Mapping[Modality, Space]) -> None:
        self._spaces = {modality: spaces[modality] for modality in Modality if modality in spaces}
        ends = np.cumsum([space.axes.shape[1] for space in self._spaces.values()]).tolist()
        self._parts = {m: slice(a, b) for m, a, b in zip(self._spaces, [0, *ends], ends, strict=False)}
        self.dim: int = ends[-1]

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Which have a map."""
        return tuple(self._spaces)

    @property
    def lengths(self) -> dict[Modality, int]:
        """Length S of the vectors of each modality, before they are mapped."""
        return {modality: len(space.mean) for modality, space in self._spaces.items()}

    @property
    def weights(self) -> tuple[float, ...]:
        """How much each modality counts in an item, in their order."""
        return tuple(space.weight for space in self._spaces.values())

    def part(self, modality: Modality) -> slice:
        """Where a modality's K numbers are in a vector of length D."""
        return self._parts[modality]

    def apply(self, modality: Modality, vectors: Vectors) -> Vectors:
        """Map (N, S) vectors of a modality: (N, D) float32 of unit length, zero outside its own part.

        A vector of which nothing is left in the dimensions that were learned becomes zero.

        Raises:
            SeparateSpacesError: When the modality has no map.
            ShapeError: When the vectors are not (N, S).
        """
        if modality not in self._spaces:
            raise SeparateSpacesError(
                f"no map was learned for {modality} vectors, only for {', '.join(self._spaces)}: name one of these, "
                "or build the bundle again from a catalogue that brings such vectors"
            )
        if vectors.ndim != 2 or vectors.shape[1] != self.lengths[modality]:
            raise ShapeError(
                f"{modality} vectors have shape {vectors.shape}, expected (N, {self.lengths[modality]}); {self.told}"
            )
        mapped = np.zeros((len(vectors), self.dim), np.float32)
        mapped[:, self._parts[modality]] = self._spaces[modality].apply(vectors)
        return mapped

    @property
    def told(self) -> str:
        """Say in words what has which length."""
        return ", ".join(f"{modality} has {length} numbers" for modality, length in self.lengths.items())

    def report(self) -> dict[str, Any]:
        """Give for each modality lengths before and after, variance kept, weight, and of how many vectors."""
        return {
            str(modality): {
                "length": len(space.mean),
                "kept_dimensions": space.axes.shape[1],
                "kept_variance": round(space.kept, 4),
                "weight": round(space.weight, 4),
                "learned_from": space.learned_from,
            }
            for modality, space in self._spaces.items()
        }

    @cached_property
    def digest(self) -> str:
        """Hash of the maps: another value means another space."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """Give the maps as safetensors."""
        arrays: dict[str, NDArray[Any]] = {}
        for modality, space in self._spaces.items():
            arrays |= {f"{modality}.mean": space.mean, f"{modality}.axes": np.ascontiguousarray(space.axes)}
        about = {
            str(modality): {"spread": space.spread, "kept": space.kept, "learned_from": space.learned_from}
            for modality, space in self._spaces.items()
        }
        return save({**arrays, "about": np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Spaces":
        """Read what `to_bytes` gave.

        Raises:
            DamagedFileError: When it is none, or not all of one.
        """
        with read_as("the maps of spaces", "build the bundle again"):
            arrays = load(data)
            about = json.loads(arrays.pop("about").tobytes())
            spaces = {
                Modality(name): Space(
                    arrays.pop(f"{name}.mean"),
                    arrays.pop(f"{name}.axes"),
                    float(told["spread"]),
                    float(told["kept"]),
                    int(told["learned_from"]),
                )
                for name, told in about.items()
            }
        if arrays or not spaces or not all(_fits(space) for space in spaces.values()):
            raise DamagedFileError(f"maps of {', '.join(spaces) or 'nothing'} have parts that do not fit; build again")
        return cls(spaces)


def _fits(space: Space) -> bool:
    """Whether mean, axes and spread are numbers that belong together."""
    shaped = space.axes.ndim == 2 and space.mean.shape == space.axes.shape[:1] and space.axes.shape[1] > 0
    arrays = space.mean, space.axes
    return (
        shaped
        and 0 <= space.spread <= 1
        and all(one.dtype == np.float32 and bool(np.isfinite(one).all()) for one in arrays)
    )
