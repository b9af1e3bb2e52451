"""Logistic regression and Platt scaling against scikit-learn's."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from indexing.errors import InputError, ShapeError, VectorError
from retrieval.ranking.confidence.logistic import Logistic, Platt, sigmoid


def test_the_weights_are_those_of_scikit_learn_without_penalty() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 3)) * [1, 100, 0.01] + [0, 5, 0.3]
    yes = rng.random(500) < sigmoid(x @ [1, -0.02, 30] - 9)
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000, solver="newton-cholesky").fit(x, yes)
    model = Logistic.fit(x, yes)
    np.testing.assert_allclose(model.weights, reference.coef_[0], rtol=1e-4)
    assert model.intercept == pytest.approx(reference.intercept_[0], rel=1e-4)
    np.testing.assert_allclose(model.probability(x), reference.predict_proba(x)[:, 1], atol=1e-5)


def test_platt_is_logistic_regression_on_the_score() -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(3, 2, size=(40, 20)).astype(np.float32)
    taken = rng.random(scores.shape) < sigmoid(0.8 * scores.astype(np.float64) - 4)
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(scores.reshape(-1, 1), taken.ravel())
    platt = Platt.fit(scores, taken)
    assert platt.slope == pytest.approx(reference.coef_[0, 0], rel=1e-3)
    expected = reference.predict_proba(scores.reshape(-1, 1))[:, 1].reshape(scores.shape)
    np.testing.assert_allclose(platt.probability(scores), expected, atol=1e-4)
    assert platt.probability(scores).mean() == pytest.approx(taken.mean(), abs=1e-6)  # calibrated on the whole
    padded = np.concatenate([scores, np.full((40, 3), -np.inf, np.float32)], axis=1)
    unread = np.concatenate([taken, np.ones((40, 3), bool)], axis=1)
    assert Platt.fit(padded, unread) == platt
    assert (platt.probability(padded)[:, 20:] == 0).all()


def test_a_perfect_score_has_finite_weights() -> None:
    platt = Platt.fit(np.array([0.0, 1, 2, 3]), np.array([False, False, True, True]))
    assert np.isfinite([platt.slope, platt.intercept]).all()
    assert platt.probability(np.array([0.0, 3])) == pytest.approx([0, 1], abs=0.01)
    constant = Logistic.fit(np.ones((4, 1)), np.array([True, False, False, False]))
    assert constant.probability(np.ones((1, 1))) == pytest.approx([0.25])
    assert sigmoid(np.array([-1e4, 0, 1e4])).tolist() == [0, 0.5, 1]


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(InputError, match="all 3 outcomes are alike"):
        Platt.fit(np.arange(3.0), np.ones(3, bool))
    with pytest.raises(ShapeError, match=r"scores are \(3,\) and taken \(2,\)"):
        Platt.fit(np.arange(3.0), np.ones(2, bool))
    with pytest.raises(ShapeError, match=r"x is \(3,\) and yes \(3,\)"):
        Logistic.fit(np.arange(3.0), np.ones(3, bool))
    with pytest.raises(VectorError, match="1 lines of x are not finite"):
        Platt.fit(np.array([1, np.nan]), np.array([True, False]))
