"""EASE: a linear autoencoder of histories in closed form.

Harald Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, https://arxiv.org/abs/1905.03375
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, ShapeError
from retrieval.evaluation.baselines.recommender import Ranked, rank
from retrieval.interactions.histories import histories as histories_of
from retrieval.interactions.interactions import Interactions

# N x N doubles are inverted: 20,000 items take 3.2 GB, twice.
_MAX_ITEMS = 20_000


@dataclass(frozen=True, eq=False)
class EASE:
    """Each item is predicted from the other items of a history.

    Attributes:
        weights: (N, N) float64; the weight of item i in the score of item j. The diagonal is 0.
        half_life: In a history, an item this many positions before the last counts half; all count the same if None.
    """

    weights: NDArray[np.float64]
    half_life: float | None = None

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        items: ItemIds,
        *,
        regularisation: float = 200.0,
        weighted: bool = False,
        half_life: float | None = None,
    ) -> "EASE":
        """Solve for the weights: ``B = I - P / diag(P)`` with ``P`` the inverse of ``X'X + regularisation * I``.

        The solver is also used by the behaviour model and the candidate sources, here in double precision.

        Args:
            interactions: The interactions; read them with ``min_weight`` to fit on positives only.
            items: The catalogue; other items are left out.
            regularisation: L2 penalty on the weights.
            weighted: Let X hold the interactions' weights instead of ones.
            half_life: In positions; used by `recommend` only.

        Raises:
            InputError: If the regularisation or half-life is not positive, or the catalogue is too large.
            TrainingError: If the regularisation is too small to solve for the weights.
        """
        if not regularisation > 0 or not (half_life is None or half_life > 0):
            raise InputError(f"regularisation {regularisation} and half_life {half_life} must be positive")
        if len(items) > _MAX_ITEMS:
            raise InputError(f"{len(items)} items are too many to invert a matrix of; at most {_MAX_ITEMS} are taken")
        from retrieval.training.behaviour.ease import solve_ease  # torch is imported for fitting only
        from retrieval.training.behaviour.ease_inverse import interaction_matrix

        histories = histories_of(interactions, items)
        weights = [history.weights if weighted else np.ones(len(history), np.float32) for history in histories]
        matrix = interaction_matrix(histories, weights, np.arange(len(items)), len(items))
        solution = solve_ease(matrix, regularisation, double=True).astype(np.float64, copy=False)
        return cls(solution, half_life)

    def recommend(
        self,
        histories: Sequence[Rows],
        k: int,
        *,
        exclude: Sequence[Rows] | None = None,
        weights: Sequence[Vectors] | None = None,
    ) -> Ranked:
        """Rank the best k items for each history; see `Recommender`. ``weights`` has one weight per row of a history.

        Raises:
            ShapeError: If weights and histories differ in length.
        """
        if weights is not None and list(map(len, weights)) != list(map(len, histories)):
            raise ShapeError("weights and histories differ in length; give one weight for each row of each history")

        def score(batch: slice) -> NDArray[np.float64]:
            scores = np.zeros((batch.stop - batch.start, len(self.weights)))
            for position in range(batch.start, batch.stop):
                rows = histories[position]
                values = np.ones(len(rows)) if weights is None else weights[position].astype(np.float64)
                if self.half_life is not None:
                    values = values * 0.5 ** (np.arange(len(rows))[::-1] / self.half_life)
                scores[position - batch.start] = values @ self.weights[rows]
            return scores

        return rank(score, histories, k, exclude)
