"""What needs no training: EASE at low rank, and whitening."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from indexing.arrays import Rows, Vectors
from retrieval.interactions.histories import History
from retrieval.training.behaviour.ease_inverse import Inverse, inverse_of, touches_of

Doubles = NDArray[np.float64]


def low_rank_ease(
    histories: Sequence[History],
    interaction_weights: Sequence[Vectors],
    rows: Rows,
    count: int,
    rank: int,
    regularisation: float,
) -> tuple[Doubles, Doubles]:
    """Factorise EASE by what it predicts for these users, not by its weights.

    With X the users' interactions and B EASE's weights, the item side V holds the first right singular vectors of X B:
    the directions in which predictions differ. What an item of a history says is its row of B V.

    Args:
        histories: The histories.
        interaction_weights: For each of them the weights of its interactions.
        rows: (K,) rows that take part; all others say nothing.
        count: N.
        rank: Dimensions; with fewer items than that, the last are zero.
        regularisation: Of EASE.

    Returns:
        What items say, and the item side: two times (N, rank).
    """
    seen = _Predicted.of(inverse_of(touches_of(histories, interaction_weights, rows, count), regularisation))
    basis = first_eigenvectors(seen, rank)
    context, items = np.zeros((count, rank)), np.zeros((count, rank))
    context[rows, : basis.shape[1]], items[rows, : basis.shape[1]] = seen.weigh(basis), basis
    return context, items


def ease(
    histories: Sequence[History], interaction_weights: Sequence[Vectors], rows: Rows, count: int, regularisation: float
) -> Vectors:
    """Solve for the weights of EASE: (K, K) float32 with nothing on the diagonal; see `low_rank_ease`."""
    return solve_ease(touches_of(histories, interaction_weights, rows, count), regularisation).astype(
        np.float32, copy=False
    )


def solve_ease(interactions: csr_matrix, regularisation: float, *, double: bool = False) -> NDArray[np.floating]:
    """Solve for the weights of EASE: ``B = I - P / diag(P)`` with ``P`` the inverse of ``X' X + regularisation * I``.

    Args:
        interactions: (U, K), X.
        regularisation: Above 0. The larger it is, the less a few common users say.
        double: Solve in double precision; else in single precision where that is within `CLOSE`.

    Returns:
        (K, K) float64, or float32 where solved in single precision, with zeros on the diagonal.

    Raises:
        TrainingError: When the regularisation is too small to tell items apart.

    >>> solve_ease(csr_matrix([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]), 1.0, double=True).round(6).tolist()
    [[0.0, 0.5, -0.2], [0.4, 0.0, 0.4], [-0.2, 0.5, 0.0]]
    """
    weights = inverse_of(interactions, regularisation, double=double).dense()
    weights *= -1 / np.diag(weights)
    np.fill_diagonal(weights, 0.0)
    return weights


class Symmetric(Protocol):
    """A symmetric matrix that is only ever multiplied by others."""

    def __len__(self) -> int: ...

    def __matmul__(self, other: Doubles, /) -> Doubles: ...


@dataclass(frozen=True, eq=False)
class _Predicted:
    """``B' G B``, how predictions of EASE go together, of which nothing is formed but what stands for an inverse.

    With ``P`` the inverse of ``G + l``, and ``S = 1 / diag(P)``, the weights ``B`` are ``1 - P S``; so ``G B`` is
    ``G - S + l P S``.

    Attributes:
        inverse: P, and with it X, of which G is ``X' X``, and l.
        scale: (K, 1), S.
    """

    inverse: Inverse
    scale: Doubles

    @classmethod
    def of(cls, inverse: Inverse) -> "_Predicted":
        return cls(inverse, 1 / inverse.diagonal[:, None])

    def __len__(self) -> int:
        return len(self.scale)

    def weigh(self, basis: Doubles) -> Doubles:
        """Multiply by B, from the left."""
        product: Doubles = basis - self.inverse @ (self.scale * basis)
        return product

    def __matmul__(self, basis: Doubles) -> Doubles:
        scaled, touches = self.scale * basis, self.inverse.touches
        seen = touches.T @ (touches @ basis) - scaled + self.inverse.regularisation * (self.inverse @ scaled)
        product: Doubles = seen - self.scale * (self.inverse @ seen)
        return product


def first_eigenvectors(matrix: Symmetric, rank: int, rounds: int = 12) -> Doubles:
    """Give the eigenvectors of the largest eigenvalues of a symmetric matrix without negative ones: (N, rank).

    By subspace iteration: a large matrix is only multiplied, never decomposed.
    """
    width = min(len(matrix), rank + 32)
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(len(matrix), width)))[0]
    for _ in range(rounds):
        basis = np.linalg.qr(matrix @ basis)[0]
    _, turned = np.linalg.eigh(basis.T @ (matrix @ basis))
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
