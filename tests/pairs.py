"""Pairs of texts and pictures with the geometry of a two-tower model, drawn, so that no data is needed to show it."""

import numpy as np

from indexing.arrays import Vectors, unit

DIM, COUNT = 512, 500


def clip_like(count: int = COUNT, seed: int = 0) -> tuple[Vectors, Vectors]:
    """Draw texts and pictures, (N, 512) float32 each, unit length, line by line a pair.

    Each modality has a cone of its own. Within it what a pair shares lies in axes of falling variance, about a few
    subjects, and a text says some of what its picture shows.
    """
    rng = np.random.default_rng(seed)
    axes = (1 / np.sqrt(np.arange(1, DIM + 1))).astype(np.float32)
    subjects = rng.normal(size=(20, DIM))[rng.integers(0, 20, count)]
    shown = (0.5 * subjects + rng.normal(size=(count, DIM))) * axes
    said = 0.3 * shown + 0.6 * rng.normal(size=(count, DIM)) * axes
    of_pictures, of_texts = unit(rng.normal(size=(2, DIM)).astype(np.float32))
    shared = unit(of_pictures[None] + of_texts[None])[0]
    pictures = unit((0.9 * of_pictures + 0.2 * shared + 0.33 * shown).astype(np.float32))
    texts = unit((0.9 * of_texts + 0.2 * shared + 0.33 * said).astype(np.float32))
    return texts, pictures


def hit_rates(texts: Vectors, pictures: Vectors, ks: tuple[int, ...]) -> list[float]:
    """Give the share of texts whose picture is among the k nearest, by one product in double precision."""
    scores = texts.astype(np.float64) @ pictures.T.astype(np.float64)
    ranks = (scores > np.diag(scores)[:, None]).sum(axis=1)
    return [float((ranks < k).mean()) for k in ks]
