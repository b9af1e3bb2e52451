"""Logistic regression against scikit-learn's."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from indexing.errors import InputError, ShapeError, VectorError
from retrieval.ranking.confidence import Logistic, sigmoid


def test_the_weights_are_those_of_scikit_learn_without_penalty() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 3)) * [1, 100, 0.01] + [0, 5, 0.3]
    yes = rng.random(500) < sigmoid(x @ [1, -0.02, 30] - 9)
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000, solver="newton-cholesky").fit(x, yes)
    model = Logistic.fit(x, yes)
    np.testing.assert_allclose(model.weights, reference.coef_[0], rtol=1e-4)
    assert model.intercept == pytest.approx(reference.intercept_[0], rel=1e-4)
    np.testing.assert_allclose(model.probability(x), reference.predict_proba(x)[:, 1], atol=1e-5)


def test_a_perfect_score_has_finite_weights() -> None:
    scores = np.array([[0.0], [1], [2], [3]])
    model = Logistic.fit(scores, np.array([False, False, True, True]))
    assert np.isfinite([*model.weights, model.intercept]).all()
    assert model.probability(scores[[0, 3]]) == pytest.approx([0, 1], abs=0.01)
    constant = Logistic.fit(np.ones((4, 1)), np.array([True, False, False, False]))
    assert constant.probability(np.ones((1, 1))) == pytest.approx([0.25])
    assert sigmoid(np.array([-1e4, 0, 1e4])).tolist() == [0, 0.5, 1]


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(InputError, match="all 3 outcomes are the same"):
        Logistic.fit(np.arange(3.0)[:, None], np.ones(3, bool))
    with pytest.raises(ShapeError, match=r"x is \(3,\) and y \(3,\)"):
        Logistic.fit(np.arange(3.0), np.ones(3, bool))
    with pytest.raises(VectorError, match="1 rows of x are not finite"):
        Logistic.fit(np.array([[1], [np.nan]]), np.array([True, False]))
