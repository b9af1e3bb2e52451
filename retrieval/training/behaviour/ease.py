"""EASE in closed form, its low-rank factorisation, and whitening."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from indexing.arrays import Rows, Vectors
from retrieval.interactions.histories import History
from retrieval.training.behaviour.ease_inverse import Inverse, interaction_matrix, inverse_of

Doubles = NDArray[np.float64]


def low_rank_ease(
    histories: Sequence[History],
    interaction_weights: Sequence[Vectors],
    rows: Rows,
    count: int,
    rank: int,
    regularisation: float,
) -> tuple[Doubles, Doubles]:
    """Factorise the predictions of EASE for these users, not its weights.

    With X the interactions and B the weights of EASE, the item vectors V are the first right singular vectors of the
    predictions X B. The context vector of an item in a history is its row of B V.

    Args:
        histories: The histories.
        interaction_weights: For each of them the weights of its interactions.
        rows: (K,) rows that take part.
        count: N.
        rank: Dimensions; with fewer items than that, the last are zero.
        regularisation: Of EASE.

    Returns:
        Context vectors and item vectors of these rows: two times (K, rank).
    """
    predicted = _Predicted.of(
        inverse_of(interaction_matrix(histories, interaction_weights, rows, count), regularisation)
    )
    basis = first_eigenvectors(predicted, rank)
    context, items = np.zeros((len(rows), rank)), np.zeros((len(rows), rank))
    context[:, : basis.shape[1]], items[:, : basis.shape[1]] = predicted.apply_weights(basis), basis
    return context, items


def ease(
    histories: Sequence[History], interaction_weights: Sequence[Vectors], rows: Rows, count: int, regularisation: float
) -> Vectors:
    """Solve for the weights of EASE: (K, K) float32 with nothing on the diagonal; see `low_rank_ease`."""
    return solve_ease(interaction_matrix(histories, interaction_weights, rows, count), regularisation).astype(
        np.float32, copy=False
    )


def solve_ease(interactions: csr_matrix, regularisation: float, *, double: bool = False) -> NDArray[np.floating]:
    """Solve for the weights of EASE: ``B = I - P / diag(P)`` with ``P`` the inverse of ``X' X + regularisation * I``.

    Args:
        interactions: (U, K), X.
        regularisation: Above 0.
        double: Solve in double precision; else in single precision where that is within `CLOSE`.

    Returns:
        (K, K) float64, or float32 where solved in single precision, with zeros on the diagonal.

    Raises:
        TrainingError: When the regularisation is too small for a stable inverse.

    >>> solve_ease(csr_matrix([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]), 1.0, double=True).round(6).tolist()
    [[0.0, 0.5, -0.2], [0.4, 0.0, 0.4], [-0.2, 0.5, 0.0]]
    """
    weights = inverse_of(interactions, regularisation, double=double).dense()
    weights *= -1 / np.diag(weights)
    np.fill_diagonal(weights, 0.0)
    return weights


class Symmetric(Protocol):
    """A symmetric matrix that is only multiplied."""

    def __len__(self) -> int: ...

    def __matmul__(self, other: Doubles, /) -> Doubles: ...


@dataclass(frozen=True, eq=False)
class _Predicted:
    """``B' G B``, the Gram matrix of the predictions of EASE; only the inverse is computed.

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

    def apply_weights(self, basis: Doubles) -> Doubles:
        """Give B times the basis."""
        product: Doubles = basis - self.inverse @ (self.scale * basis)
        return product

    def __matmul__(self, basis: Doubles) -> Doubles:
        scaled, interactions = self.scale * basis, self.inverse.interactions
        product = (
            interactions.T @ (interactions @ basis) - scaled + self.inverse.regularisation * (self.inverse @ scaled)
        )
        result: Doubles = product - self.scale * (self.inverse @ product)
        return result


def first_eigenvectors(matrix: Symmetric, rank: int, rounds: int = 12) -> Doubles:
    """Give the eigenvectors of the largest eigenvalues of a positive semi-definite matrix: (N, rank).

    By subspace iteration: the matrix is multiplied, never decomposed.
    """
    width = min(len(matrix), rank + 32)
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(len(matrix), width)))[0]
    for _ in range(rounds):
        basis = np.linalg.qr(matrix @ basis)[0]
    _, rotation = np.linalg.eigh(basis.T @ (matrix @ basis))
    vectors: Doubles = basis @ rotation[:, ::-1][:, :rank]
    return vectors


@dataclass(frozen=True, eq=False)
class Whitening:
    """A change of basis after which the scores of all items for a query have its length as their standard deviation.

    Inner products change by one constant for each query.

    Attributes:
        mean: (r,), of the item vectors.
        forward: (r, r), multiplies centred item vectors.
        back: (r, r), multiplies queries.
    """

    mean: Doubles
    forward: Doubles
    back: Doubles

    @classmethod
    def of(cls, items: Doubles) -> "Whitening":
        """Compute it from item vectors, (N, r)."""
        mean = items.mean(axis=0)
        values, vectors = np.linalg.eigh((items - mean).T @ (items - mean) / len(items))
        scale = np.sqrt(np.maximum(values, max(values[-1] * 1e-9, 1e-30)))
        return cls(mean, vectors / scale, vectors * scale)

    def apply(self, items: Doubles) -> Doubles:
        """Give item vectors in the new basis."""
        return (items - self.mean) @ self.forward
