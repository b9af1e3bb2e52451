"""One item vector from modalities of different spaces: each is mapped into a part of its own, by a learned linear map.

    text   (384 numbers)  ─ unit length, centred, turned ─►  [ 0 … 255 |           ]
    image  (4,096)        ─ the same with its own map    ─►  [         | 256 … 511 ]

The parts do not overlap, so that the inner product of vectors of two modalities is exactly zero and says nothing; that
of two vectors of one modality is the cosine of what is left of them after centring.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from indexing.arrays import Vectors, unit
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.vectors import units
from indexing.errors import CatalogueError, DamagedFileError, SeparateSpacesError, ShapeError
from indexing.filesystem.checked_files import read_as
from indexing.media.files import Modality

MIN_LEFT_VARIANCE = 1e-4  # vectors that are all alike say next to nothing, but an item may have no others
MIN_NORM = 1e-5  # what is shorter after centring is rounding, beside a vector of length 1


@dataclass(frozen=True, eq=False)
class Space:
    """The learned map of one modality, from vectors of length S to K numbers.

    Attributes:
        mean: (S,) float32, taken away from a vector of unit length.
        axes: (S, K) float32, orthonormal columns; which span everything where K is S.
        variance: Mean square of what the axes keep of a vector of length 1, after its mean was taken away.
        kept: Share of the vectors' variance around their mean that the axes keep.
        learned_from: Number of vectors that it was learned from.
    """

    mean: Vectors
    axes: Vectors
    variance: float
    kept: float
    learned_from: int

    @property
    def weight(self) -> float:
        """How much it counts in an item: the length that is left of a vector, its mean taken away.

        So that an item is, but for each vector's own length, what centring makes of the vectors side by side.
        """
        return math.sqrt(max(self.variance, MIN_LEFT_VARIANCE))

    def apply(self, vectors: Vectors) -> Vectors:
        """Map (N, S) finite vectors, none of them zero: (N, K) float32 of unit length; zero if nothing is left."""
        centred = (units(vectors) - self.mean).astype(np.float32)
        mapped = centred @ self.axes
        mapped[np.linalg.norm(mapped, axis=1) < MIN_NORM] = 0
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
        self._parts = {m: slice(start, end) for m, start, end in zip(self._spaces, [0, *ends], ends, strict=False)}
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
                f"{modality} vectors have shape {vectors.shape}, expected (N, {self.lengths[modality]}); "
                f"{self.lengths_text}"
            )
        mapped = np.zeros((len(vectors), self.dim), np.float32)
        mapped[:, self._parts[modality]] = self._spaces[modality].apply(vectors)
        return mapped

    @property
    def lengths_text(self) -> str:
        """The length of the vectors of each modality, as text."""
        return ", ".join(f"{modality} has {length} numbers" for modality, length in self.lengths.items())

    def report(self) -> dict[str, Any]:
        """Return for each modality lengths before and after, variance kept, weight, and of how many vectors."""
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
        """Return the maps as safetensors."""
        arrays: dict[str, NDArray[Any]] = {}
        for modality, space in self._spaces.items():
            arrays |= {f"{modality}.mean": space.mean, f"{modality}.axes": np.ascontiguousarray(space.axes)}
        about = {
            str(modality): {"spread": space.variance, "kept": space.kept, "learned_from": space.learned_from}
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
                    float(numbers["spread"]),
                    float(numbers["kept"]),
                    int(numbers["learned_from"]),
                )
                for name, numbers in about.items()
            }
        if arrays or not spaces or not all(_is_consistent(space) for space in spaces.values()):
            raise DamagedFileError(f"maps of {', '.join(spaces) or 'nothing'} have parts that do not fit; build again")
        return cls(spaces)


def _is_consistent(space: Space) -> bool:
    """Whether mean, axes and spread are numbers that belong together."""
    shaped = space.axes.ndim == 2 and space.mean.shape == space.axes.shape[:1] and space.axes.shape[1] > 0
    arrays = space.mean, space.axes
    return (
        shaped
        and 0 <= space.variance <= 1
        and all(array.dtype == np.float32 and bool(np.isfinite(array).all()) for array in arrays)
    )


Matrix: TypeAlias = NDArray[np.float64]
MAX_DIMS = 256
MAX_VECTORS = 20_000
BATCH_ROWS = 2048
MIN_VARIANCE = 1e-9  # of variance around the mean, beside a mean square of 1
Source: TypeAlias = Callable[[], Iterator[Mapping[Modality, Vectors]]]


def learn_spaces(
    catalogue: Catalogue, lengths: Mapping[Modality, int], max_dims: int = MAX_DIMS, *, seed: int = 0
) -> Spaces:
    """Learn one map a modality. The same catalogue gives the same maps.

    Where vectors are longer than ``max_dims``, their principal axes around the mean are kept: the linear map to so few
    numbers that keeps most of the centred vectors. Shorter ones are centred only, which loses nothing.

    Args:
        catalogue: The items with their vectors; unusable ones are passed over.
        lengths: Length S of the vectors of each modality.
        max_dims: Most numbers K that a modality keeps.
        seed: Draws the at most about 20,000 vectors that axes are learned from; means are over all of them.

    Raises:
        CatalogueError: When a modality has no usable vector, or the vectors have other lengths.
    """

    def usable() -> Iterator[Mapping[Modality, Vectors]]:
        for batch in catalogue.vectors(BATCH_ROWS, lengths):
            yield {modality: batch.vectors[modality][batch.exists[modality]] for modality in lengths}

    means, spreads, counts = _means(usable, lengths)
    if missing := [str(modality) for modality, count in counts.items() if not count]:
        raise CatalogueError(
            f"{catalogue.source} has no usable vector of {' or '.join(missing)}: mend that column, or choose others "
            "with `vectors`"
        )
    long = {modality: means[modality] for modality, length in lengths.items() if length > max_dims}
    axes = _principal_axes(usable, long, counts, max_dims, seed) if long else {}
    spaces = {}
    for modality, length in lengths.items():
        identity = np.eye(length, dtype=np.float32), 1.0, counts[modality]
        kept_axes, kept, learned_from = axes.get(modality, identity)
        mean = means[modality].astype(np.float32)
        spaces[modality] = Space(mean, kept_axes, spreads[modality] * kept, kept, learned_from)
    return Spaces(spaces)


def _means(
    usable: Source, lengths: Mapping[Modality, int]
) -> tuple[dict[Modality, Matrix], dict[Modality, float], dict[Modality, int]]:
    """Return the mean of the unit vectors of each modality, their variance around it, and their number.

    Vectors that are all alike keep what they are: nothing would be left of them after centring.
    """
    sums = {modality: np.zeros(length) for modality, length in lengths.items()}
    counts = dict.fromkeys(lengths, 0)
    for batch in usable():
        for modality, vectors in batch.items():
            sums[modality] += units(vectors).sum(axis=0)
            counts[modality] += len(vectors)
    means = {modality: total / max(counts[modality], 1) for modality, total in sums.items()}
    spreads = {modality: max(1 - float(mean @ mean), 0.0) for modality, mean in means.items()}
    return {m: mean if spreads[m] > MIN_VARIANCE else np.zeros_like(mean) for m, mean in means.items()}, spreads, counts


def _principal_axes(
    usable: Source, means: Mapping[Modality, Matrix], counts: Mapping[Modality, int], max_dims: int, seed: int
) -> dict[Modality, tuple[Vectors, float, int]]:
    """Return for each modality its (S, K) principal axes, the fraction of variance kept, and the number of vectors.

    A second pass, with the means known: to subtract large means at the end would cost digits.
    """
    squares = {modality: np.zeros((len(mean), len(mean))) for modality, mean in means.items()}
    num_seen = dict.fromkeys(means, 0)
    draws = {modality: np.random.default_rng((seed, number)) for number, modality in enumerate(means)}
    for batch in usable():
        for modality, mean in means.items():
            sampled = draws[modality].random(len(batch[modality])) * counts[modality] < MAX_VECTORS
            centred = units(batch[modality][sampled]) - mean
            squares[modality] += centred.T @ centred
            num_seen[modality] += len(centred)
    return {modality: (*_axes(square, max_dims), num_seen[modality]) for modality, square in squares.items()}


def _axes(square: Matrix, max_dims: int) -> tuple[Vectors, float]:
    """Return the K leading eigenvectors, each with its largest number positive, and their part of the trace."""
    values, vectors = np.linalg.eigh(square)
    leading = vectors[:, ::-1][:, :max_dims]
    signs = np.sign(leading[np.abs(leading).argmax(axis=0), np.arange(leading.shape[1])])
    total = float(np.trace(square))
    fraction = float(values[::-1][:max_dims].sum()) / total if total > 0 else 1.0
    return np.ascontiguousarray(leading * signs, dtype=np.float32), min(fraction, 1.0)
