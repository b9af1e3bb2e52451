"""Learn the maps of modalities from different spaces, on the catalogue's own vectors: centring and principal axes."""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from indexing.arrays.types import Vectors
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.vectors import units
from indexing.encoders.alignment.separate_spaces import Space, Spaces
from indexing.errors import CatalogueError
from indexing.media.files import Modality

Matrix: TypeAlias = NDArray[np.float64]
MOST_DIMS = 256
MOST_LEARNED_FROM = 20_000
ROWS = 2048
ALIKE = 1e-9  # of variance around the mean, beside a mean square of 1
Source: TypeAlias = Callable[[], Iterator[Mapping[Modality, Vectors]]]


def learn_spaces(
    catalogue: Catalogue, lengths: Mapping[Modality, int], most: int = MOST_DIMS, *, seed: int = 0
) -> Spaces:
    """Learn one map a modality. The same catalogue gives the same maps.

    Where vectors are longer than ``most``, their principal axes around the mean are kept: the linear map to so few
    numbers that keeps most of the centred vectors. Shorter ones are centred only, which loses nothing.

    Args:
        catalogue: The items with their vectors; unusable ones are passed over.
        lengths: Length S of the vectors of each modality.
        most: Most numbers K that a modality keeps.
        seed: Draws the at most about 20,000 vectors that axes are learned from; means are over all of them.

    Raises:
        CatalogueError: When a modality has no usable vector, or the vectors have other lengths.
    """

    def usable() -> Iterator[Mapping[Modality, Vectors]]:
        for batch in catalogue.vectors(ROWS, lengths):
            yield {modality: batch.vectors[modality][batch.exists[modality]] for modality in lengths}

    means, spreads, counts = _means(usable, lengths)
    if lacking := [str(modality) for modality, count in counts.items() if not count]:
        raise CatalogueError(
            f"{catalogue.source} has no usable vector of {' or '.join(lacking)}: mend that column, or choose others "
            "with `vectors`"
        )
    long = {modality: means[modality] for modality, length in lengths.items() if length > most}
    axes = _principal(usable, long, counts, most, seed) if long else {}
    spaces = {}
    for modality, length in lengths.items():
        whole = np.eye(length, dtype=np.float32), 1.0, counts[modality]
        kept_axes, kept, learned_from = axes.get(modality, whole)
        mean = means[modality].astype(np.float32)
        spaces[modality] = Space(mean, kept_axes, spreads[modality] * kept, kept, learned_from)
    return Spaces(spaces)


def _means(
    usable: Source, lengths: Mapping[Modality, int]
) -> tuple[dict[Modality, Matrix], dict[Modality, float], dict[Modality, int]]:
    """Give the mean of the unit vectors of each modality, their variance around it, and their number.

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
    return {m: mean if spreads[m] > ALIKE else np.zeros_like(mean) for m, mean in means.items()}, spreads, counts


def _principal(
    usable: Source, means: Mapping[Modality, Matrix], counts: Mapping[Modality, int], most: int, seed: int
) -> dict[Modality, tuple[Vectors, float, int]]:
    """Give for each modality its (S, K) principal axes, the share of variance that they keep, and of how many vectors.

    A second pass, with the means known: to subtract large means at the end would cost digits.
    """
    squares = {modality: np.zeros((len(mean), len(mean))) for modality, mean in means.items()}
    seen = dict.fromkeys(means, 0)
    draws = {modality: np.random.default_rng((seed, place)) for place, modality in enumerate(means)}
    for batch in usable():
        for modality, mean in means.items():
            chosen = draws[modality].random(len(batch[modality])) * counts[modality] < MOST_LEARNED_FROM
            centred = units(batch[modality][chosen]) - mean
            squares[modality] += centred.T @ centred
            seen[modality] += len(centred)
    return {modality: (*_axes(square, most), seen[modality]) for modality, square in squares.items()}


def _axes(square: Matrix, most: int) -> tuple[Vectors, float]:
    """Give the K leading eigenvectors as columns, the largest number of each positive, and their share of the trace."""
    values, vectors = np.linalg.eigh(square)
    kept = vectors[:, ::-1][:, :most]
    signs = np.sign(kept[np.abs(kept).argmax(axis=0), np.arange(kept.shape[1])])
    total = float(np.trace(square))
    share = float(values[::-1][:most].sum()) / total if total > 0 else 1.0
    return np.ascontiguousarray(kept * signs, dtype=np.float32), min(share, 1.0)
