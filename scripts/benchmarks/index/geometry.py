"""Vectors with the geometry of a two-tower model: clustered pictures, and texts displaced by the modality gap.

Measured on a few hundred real pairs: the mean and covariance spectrum of pictures, the linear part of a text given its
picture and how much is left over, and the cosine of a pair. Drawn from these: any number of pictures in clusters of
Pareto-distributed size, further pictures as queries, and texts of such pictures as queries.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexing.arrays import Vectors, unit

ITEMS_PER_CLUSTER = 100
ITEMS_AT_ONCE = 200_000  # drawn in double precision
SHARED = 0.6  # of the variance of a picture lies in its cluster's centre
RIDGE = 0.1
HEAD = slice(9, 150)  # axes whose variances a power law is fitted to; those beyond are too few samples to be seen


@dataclass(frozen=True)
class Drawn:
    """What was drawn, and how well it fits: the same figures for the real pairs and for the drawn ones."""

    items: Vectors
    images: Vectors
    texts: Vectors
    fit: dict[str, dict[str, float]]


class Drawer:
    """Draws items block by block, and then queries, from the geometry of real pairs (N, D).

    Args:
        images, texts: The real pairs.
        count: How many items there will be, which says how many clusters they have.
        seed: Of all that is drawn.
    """

    def __init__(self, images: Vectors, texts: Vectors, count: int, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self.images, self.texts = unit(images), unit(texts)
        self._centre = self.images.mean(axis=0)
        _, singular, axes = np.linalg.svd(self.images - self._centre, full_matrices=True)
        variances = _spectrum(singular, len(images), images.shape[1], 1 - float(self._centre @ self._centre))
        self._axes, self._deviations = axes, np.sqrt(variances)
        clusters = max(200, count // ITEMS_PER_CLUSTER)
        self._centres = self._rng.normal(size=(clusters, len(axes))) * self._deviations * SHARED**0.5
        sizes = self._rng.pareto(1.5, clusters) + 1
        self._shares, self._count = sizes / sizes.sum(), count

    def items(self) -> Iterator[Vectors]:
        """Give the items, once, in blocks (rows, D)."""
        for start in range(0, self._count, ITEMS_AT_ONCE):
            yield self._placed(self._pictures(min(ITEMS_AT_ONCE, self._count - start)))

    def queries(self, number: int) -> tuple[Vectors, Vectors]:
        """Give pictures that are no items, and texts of them, (number, D) each."""
        asked = self._pictures(number)
        images, texts = self.images, self.texts
        image_queries = self._placed(asked)
        # What of a text follows from its picture, and what does not.
        text_centre, coordinates = texts.mean(axis=0), (images - self._centre) @ self._axes.T
        learned = np.linalg.solve(
            coordinates.T @ coordinates + RIDGE * np.eye(len(self._axes)), coordinates.T @ (texts - text_centre)
        )
        left_over = texts - text_centre - coordinates @ learned
        noise = left_over[self._rng.integers(0, len(left_over), number)] * self._rng.normal(size=(number, 1))
        wanted = float((images * texts).sum(axis=1).mean())
        tried = [unit(text_centre + strength * (asked @ learned) + noise) for strength in np.linspace(0.3, 3, 28)]
        return image_queries, min(tried, key=lambda one: abs(float((one * image_queries).sum(axis=1).mean()) - wanted))

    def _pictures(self, number: int) -> Vectors:
        chosen = self._rng.choice(len(self._centres), number, p=self._shares)
        own = self._rng.normal(size=(number, len(self._deviations))) * self._deviations * (1 - SHARED) ** 0.5
        return np.asarray(self._centres[chosen] + own, np.float32)

    def _placed(self, pictures: Vectors) -> Vectors:
        return unit(pictures @ self._axes.astype(np.float32) + self._centre)


def draw(images: Vectors, texts: Vectors, count: int, queries: int, seed: int = 0) -> Drawn:
    """Draw ``count`` items and as many queries of each kind as asked for, from the geometry of real pairs (N, D)."""
    drawer = Drawer(images, texts, count, seed)
    items = np.empty((count, images.shape[1]), np.float32)
    start = 0
    for block in drawer.items():
        items[start : start + len(block)] = block
        start += len(block)
    image_queries, text_queries = drawer.queries(queries)
    real = _figures(drawer.images, drawer.images, drawer.texts)
    return Drawn(
        items, image_queries, text_queries, {"real": real, "drawn": _figures(items, image_queries, text_queries)}
    )


def read_pairs(folder: Path) -> tuple[Vectors, Vectors]:
    """Read pairs kept as ``image_emb.npy`` and ``text_emb.npy``."""
    images, texts = (np.load(folder / f"{name}_emb.npy", allow_pickle=False) for name in ("image", "text"))
    return images.astype(np.float32), texts.astype(np.float32)


def _spectrum(singular: Vectors, count: int, dim: int, total: float) -> Vectors:
    """Give the variance along each axis, the unseen tail by a power law, summing to ``total``."""
    variances = np.zeros(dim)
    variances[: len(singular)] = singular**2 / count
    places = np.arange(1, dim + 1)
    slope, offset = np.polyfit(np.log(places[HEAD]), np.log(variances[HEAD]), 1)
    variances[HEAD.stop :] = np.exp(offset + slope * np.log(places[HEAD.stop :]))
    scaled: Vectors = variances * total / variances.sum()
    return scaled


def _figures(items: Vectors, images: Vectors, texts: Vectors) -> dict[str, float]:
    spread = np.linalg.eigvalsh(np.cov(items[:20_000].T))
    return {
        "cosine of a pair": round(float((images * texts).sum(axis=1).mean()), 3),
        "modality gap": round(float(np.linalg.norm(items.mean(axis=0) - texts.mean(axis=0))), 3),
        "participation ratio": round(float(spread.sum() ** 2 / (spread**2).sum()), 1),
    }
