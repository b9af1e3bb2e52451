"""The inverse in EASE, ``(X' X + l)^-1``, in single precision where that is accurate enough.

It is computed from the Cholesky factor of ``X' X + l``, of items; or, where users are few, from that of ``X X' + l``,
of users: ``(1 - X' (X X' + l)^-1 X) / l`` is the same inverse (Woodbury). The error of some columns is bounded; where
it is too large, the inverse is computed again in double precision.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from indexing.arrays import Rows, Vectors
from indexing.errors import TrainingError
from retrieval.interactions.histories import History

Doubles = NDArray[np.float64]
CLOSE = 1e-4  # maximum error of a weight of EASE; the weights of neighbours differ by some hundredths
_CHECKED, _BLOCK = 16, 1024


def interaction_matrix(
    histories: Sequence[History], interaction_weights: Sequence[Vectors], rows: Rows, count: int
) -> csr_matrix:
    """Give the interactions X, users by items: (U, K) float64, sparse.

    Args:
        histories: The histories.
        interaction_weights: For each of them the weights of its interactions.
        rows: (K,) rows that take part.
        count: N.
    """
    column_of = np.full(count, -1)
    column_of[rows] = np.arange(len(rows))
    columns = column_of[np.concatenate([np.empty(0, np.int64), *(history.rows for history in histories)])]
    values = np.concatenate([np.empty(0, np.float32), *interaction_weights]).astype(np.float64)
    users = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    included = (columns >= 0) & (values != 0)
    return csr_matrix((values[included], (users[included], columns[included])), (len(histories), len(rows)))


@dataclass(frozen=True, eq=False)
class Inverse:
    """``P = (X' X + l)^-1``.

    Attributes:
        interactions: (U, K), X.
        regularisation: l.
        diagonal: (K,), of P.
        matrix: P itself, (K, K); or by users H, (U, K), with which P is ``(1 - H' H) / l``.
        by_users: Whether ``matrix`` is H.
    """

    interactions: csr_matrix
    regularisation: float
    diagonal: Doubles
    matrix: torch.Tensor
    by_users: bool

    def __matmul__(self, other: Doubles) -> Doubles:
        """Multiply (K, M)."""
        product = self.matrix @ torch.as_tensor(np.ascontiguousarray(other)).to(self.matrix.dtype)
        if not self.by_users:
            return _doubles(product)
        return (other - _doubles(self.matrix.T @ product)) / self.regularisation

    def dense(self) -> NDArray[np.floating]:
        """Give P, (K, K) in the precision of ``matrix``, whose memory is reused: call it last."""
        inverse = self.matrix
        if self.by_users:
            inverse = inverse.T @ inverse
            inverse.mul_(-1 / self.regularisation)
            inverse.diagonal().copy_(torch.as_tensor(self.diagonal))
        formed: NDArray[np.floating] = inverse.cpu().numpy()
        return formed

    def max_error(self) -> float:
        """Bound the error of the weights of EASE by some columns: of the most popular items, and random ones.

        For a column p of P and the unit vector e, ``r = (X' X + l) p - e`` should be zero. The error of p is at most
        ``|r| / l``, because no eigenvalue is smaller than l. Weights are p over its diagonal.
        """
        count, x = len(self.diagonal), self.interactions
        popular = np.argsort(self.diagonal)[:_CHECKED]
        checked = np.union1d(popular, np.random.default_rng(0).permutation(count)[:_CHECKED])
        identity = np.zeros((count, len(checked)))
        identity[checked, np.arange(len(checked))] = 1
        columns = self @ identity
        residuals = np.linalg.norm(x.T @ (x @ columns) + self.regularisation * columns - identity, axis=0)
        return float(np.max(residuals / (self.regularisation * np.abs(self.diagonal[checked])), initial=0.0))


def inverse_of(interactions: csr_matrix, regularisation: float, *, double: bool = False) -> Inverse:
    """Invert ``X' X + l``.

    Args:
        interactions: (U, K), X.
        regularisation: l, above zero.
        double: Use double precision without trying single precision first.

    Raises:
        TrainingError: When l is too small for a stable inverse.
    """
    precisions = (torch.float64,) if double else (torch.float32, torch.float64)
    for dtype in precisions if regularisation > 0 else ():
        inverse = _inverse(interactions, regularisation, dtype)
        if inverse is not None and (dtype is torch.float64 or inverse.max_error() <= CLOSE):
            return inverse
    raise TrainingError(
        f"EASE cannot be solved with a regularisation of {regularisation:g} for {interactions.shape[1]} items and "
        f"{interactions.shape[0]} users; give a larger one"
    )


def _inverse(interactions: csr_matrix, regularisation: float, dtype: torch.dtype) -> Inverse | None:
    """Invert in a precision, or give None where rounding leaves no positive definite matrix."""
    users, items = interactions.shape
    dense = torch.as_tensor(interactions.toarray()).to(dtype) if 2 * users < items else None
    square = _gram(interactions, dtype) if dense is None else dense @ dense.T
    square.diagonal().add_(regularisation)
    factor, failed = torch.linalg.cholesky_ex(square)
    del square
    if failed:
        return None
    if dense is None:
        torch.cholesky_inverse(factor, out=factor)
        return Inverse(interactions, regularisation, _doubles(factor.diagonal()), factor, by_users=False)
    half = torch.linalg.solve_triangular(factor, dense, upper=False)
    diagonal = (1 - _doubles((half**2).sum(dim=0))) / regularisation
    return Inverse(interactions, regularisation, diagonal, half, by_users=True)


def _gram(interactions: csr_matrix, dtype: torch.dtype) -> torch.Tensor:
    """Give ``X' X``, (K, K), summed in double precision, in blocks of rows to save memory."""
    transposed = interactions.T.tocsr()
    gram = torch.empty((transposed.shape[0], transposed.shape[0]), dtype=dtype)
    for start in range(0, len(gram), _BLOCK):
        batch = slice(start, start + _BLOCK)
        gram[batch] = torch.as_tensor((transposed[batch] @ interactions).toarray())
    return gram


def _doubles(values: torch.Tensor) -> Doubles:
    result: Doubles = values.to(torch.float64, copy=True).cpu().numpy()
    return result
