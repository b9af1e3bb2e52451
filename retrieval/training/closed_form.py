"""What needs no training: EASE at low rank, whitening, and ridge regression."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.types import Rows, Vectors
from retrieval.behaviour import Predictor
from retrieval.prepare import History

Doubles = NDArray[np.float64]
_BLOCK = 16_384  # rows at once


def low_rank_ease(
    pasts: Sequence[History], worth: Sequence[Vectors], kept: Rows, count: int, rank: int, regularisation: float
) -> tuple[Doubles, Doubles]:
    """Factorise EASE by what it predicts for these users, not by its weights.

    With X the users' interactions and B EASE's weights, the item side V holds the first right singular vectors of X B:
    the directions in which predictions differ. What an item of a history says is its row of B V.

    Args:
        pasts: The histories.
        worth: For each of them the weights of its interactions.
        kept: (K,) rows that take part; all others say nothing.
        count: N.
        rank: Dimensions; with fewer items than that, the last are zero.
        regularisation: Of EASE.

    Returns:
        What items say, and the item side: two times (N, rank).
    """
    place = np.full(count, -1)
    place[kept] = np.arange(len(kept))
    gram = np.zeros((len(kept), len(kept)))
    for past, values in zip(pasts, worth, strict=True):
        here = place[past.rows]
        known = values[here >= 0].astype(np.float64)
        gram[np.ix_(here[here >= 0], here[here >= 0])] += np.outer(known, known)
    weights = ease(gram, regularisation)
    basis = first_eigenvectors(weights.T @ gram @ weights, rank)
    said, items = np.zeros((count, rank)), np.zeros((count, rank))
    said[kept, : basis.shape[1]], items[kept, : basis.shape[1]] = weights @ basis, basis
    return said, items


def ease(gram: Doubles, regularisation: float) -> Doubles:
    """Solve for the weights of EASE, (K, K) with nothing on the diagonal, of a gram matrix (K, K)."""
    regular = gram.copy()
    regular[np.diag_indices_from(regular)] += regularisation
    inverse = np.linalg.inv(regular)
    weights: Doubles = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights


def first_eigenvectors(matrix: Doubles, rank: int, rounds: int = 12) -> Doubles:
    """Give the eigenvectors of the largest eigenvalues of a symmetric matrix without negative ones: (N, rank).

    By subspace iteration: a large matrix is only multiplied, never decomposed.
    """
    wide = min(len(matrix), rank + 32)
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(len(matrix), wide)))[0]
    for _ in range(rounds):
        basis = np.linalg.qr(matrix @ basis)[0]
    _, turned = np.linalg.eigh(basis.T @ matrix @ basis)
    vectors: Doubles = basis @ turned[:, ::-1][:, :rank]
    return vectors


@dataclass(frozen=True, eq=False)
class Whitening:
    """A change of basis after which the scores of all items for a query have its length as their standard deviation.

    Inner products change by a constant for each query only.

    Attributes:
        mean: (r,), of the items.
        forward: (r, r), that item vectors are multiplied by once the mean is taken from them.
        back: (r, r), that queries are multiplied by.
    """

    mean: Doubles
    forward: Doubles
    back: Doubles

    @classmethod
    def of(cls, items: Doubles) -> "Whitening":
        """Find it for an item side, (N, r)."""
        mean = items.mean(axis=0)
        values, vectors = np.linalg.eigh((items - mean).T @ (items - mean) / len(items))
        scale = np.sqrt(np.maximum(values, max(values[-1] * 1e-9, 1e-30)))
        return cls(mean, vectors / scale, vectors * scale)

    def apply(self, items: Doubles) -> Doubles:
        """Give the item side in the new basis."""
        return (items - self.mean) @ self.forward


def ridge(described: Vectors, wanted: Doubles, trust: Doubles, regularisation: float) -> Predictor:
    """Predict from content, counting each item by how far what is known of it can be trusted.

    Args:
        described: (N, F), zero where nothing is known.
        wanted: (N, R).
        trust: (N,), not negative; 0 leaves an item out.
        regularisation: Keeps the weights small; the offset is free.
    """
    shares = trust / trust.sum()
    y_mean = shares @ wanted
    x_mean = np.zeros(described.shape[1])
    for start in range(0, len(described), _BLOCK):
        block = slice(start, start + _BLOCK)
        x_mean += shares[block] @ described[block]
    square = regularisation * np.eye(described.shape[1])
    product = np.zeros((described.shape[1], wanted.shape[1]))
    for start in range(0, len(described), _BLOCK):
        block = slice(start, start + _BLOCK)
        x = described[block] - x_mean
        weighted = x.T * trust[block]
        square += weighted @ x
        product += weighted @ (wanted[block] - y_mean)
    weights = np.linalg.solve(square, product)
    return Predictor(weights.astype(np.float32), (y_mean - x_mean @ weights).astype(np.float32))
