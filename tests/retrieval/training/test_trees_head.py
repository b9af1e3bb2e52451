"""Trees learn what is not monotone, and are scored on one thread."""

import numpy as np
import pytest

from indexing.arrays import Vectors
from retrieval.training.ranker.neural_head import Examples, train_trees_head
from retrieval.training.ranker_config import TreesConfig


@pytest.fixture(scope="module")
def misleading() -> Examples:
    """Queries whose best candidate has a middling first feature: more of it speaks against a candidate, seen alone."""
    rng = np.random.default_rng(0)
    features = rng.uniform(-1, 1, (80, 12, 2)).astype(np.float32)
    near = np.argmin(np.abs(features[..., 0]), axis=1)
    return Examples(features, np.eye(12, dtype=np.float32)[near], np.ones((80, 12), np.bool_))


def test_scores_rise_and_fall_with_a_feature(misleading: Examples) -> None:
    pytest.importorskip("lightgbm")
    head = train_trees_head(misleading, TreesConfig(num_boost_round=30, min_data_in_leaf=10, feature_fraction=1.0))
    line = np.zeros((1, 50, 2), np.float32)
    line[0, :, 0] = np.linspace(-1, 1, 50)
    scores = head.score(line)[0]
    assert abs(line[0, scores.argmax(), 0]) < 0.3
    assert scores.max() > max(scores[0], scores[-1]) + 0.1


@pytest.mark.parametrize("lines", [1, 7, 400])
def test_trees_are_scored_on_one_thread_to_the_same_values(misleading: Examples, lines: int) -> None:
    pytest.importorskip("lightgbm")
    head = train_trees_head(misleading, TreesConfig(num_boost_round=20))
    asked: list[dict[str, object]] = []
    booster = head._booster

    class Spy:
        def predict(self, features: Vectors, **given: object) -> Vectors:
            asked.append(given)
            found: Vectors = booster.predict(features, **given)
            return found

    object.__setattr__(head, "_booster", Spy())
    features = misleading.features.reshape(-1, misleading.features.shape[-1])[:lines]
    scores = head.score(features)
    assert asked == [{"num_threads": 1}]
    np.testing.assert_allclose(scores, booster.predict(features), rtol=1e-6)  # float32 of the same float64
