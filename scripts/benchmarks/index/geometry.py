"""Vectors with the geometry of a two-tower model: clustered pictures, and texts displaced by the modality gap.

Measured on a few hundred real pairs: the mean and covariance spectrum of pictures, the linear part of a text given its
picture and how much is left over, and the cosine of a pair. Drawn from these: any number of pictures in clusters of
Pareto-distributed size, further pictures as queries, and texts of such pictures as queries.
"""

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


def draw(images: Vectors, texts: Vectors, count: int, queries: int, seed: int = 0) -> Drawn:
    """Draw ``count`` items and as many queries of each kind as asked for, from the geometry of real pairs (N, D)."""
    rng = np.random.default_rng(seed)
    images, texts = unit(images), unit(texts)
    centre, text_centre = images.mean(axis=0), texts.mean(axis=0)
    _, singular, axes = np.linalg.svd(images - centre, full_matrices=True)
    deviations = np.sqrt(_spectrum(singular, len(images), images.shape[1], 1 - float(centre @ centre)))
    centres = rng.normal(size=(max(200, count // ITEMS_PER_CLUSTER), len(deviations))) * deviations * SHARED**0.5
    sizes = rng.pareto(1.5, len(centres)) + 1

    def pictures(number: int) -> Vectors:
        chosen = rng.choice(len(centres), number, p=sizes / sizes.sum())
        own = rng.normal(size=(number, len(deviations))) * deviations * (1 - SHARED) ** 0.5
        return np.asarray(centres[chosen] + own, np.float32)

    drawn_items = np.empty((count, len(axes)), np.float32)
    for start in range(0, count, ITEMS_AT_ONCE):
        raw = pictures(min(ITEMS_AT_ONCE, count - start))
        drawn_items[start : start + len(raw)] = unit(raw @ axes.astype(np.float32) + centre)
    asked = pictures(queries)
    image_queries = unit(asked @ axes.astype(np.float32) + centre)
    # What of a text follows from its picture, and what does not.
    coordinates = (images - centre) @ axes.T
    learned = np.linalg.solve(
        coordinates.T @ coordinates + RIDGE * np.eye(len(axes)), coordinates.T @ (texts - text_centre)
    )
    left_over = texts - text_centre - coordinates @ learned
    noise = left_over[rng.integers(0, len(left_over), queries)] * rng.normal(size=(queries, 1))
    wanted = float((images * texts).sum(axis=1).mean())
    strengths = np.linspace(0.3, 3, 28)
    tried = [unit(text_centre + strength * (asked @ learned) + noise) for strength in strengths]
    text_queries = min(tried, key=lambda one: abs(float((one * image_queries).sum(axis=1).mean()) - wanted))
    fit = {"real": _figures(images, images, texts), "drawn": _figures(drawn_items, image_queries, text_queries)}
    return Drawn(drawn_items, image_queries, text_queries, fit)


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
