"""The head starts with the order of retrieval and learns the feature that matters."""

import numpy as np
import pytest

from indexing.errors import TrainingError
from retrieval.rerank import Head
from retrieval.training.config import HeadConfig
from retrieval.training.head import _Network, train_head

QUERIES, DEPTH, FEATURES = 200, 20, 4


def examples(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidates of which the one with the largest third feature is relevant; the last two are padding."""
    features = np.random.default_rng(seed).normal(size=(QUERIES, DEPTH, FEATURES)).astype(np.float32)
    kept = np.ones((QUERIES, DEPTH), np.bool_)
    kept[:, -2:] = False
    relevant = np.zeros_like(kept)
    relevant[np.arange(QUERIES), np.where(kept, features[:, :, 2], -9).argmax(axis=1)] = True
    return features, relevant, kept


def trained(epochs: int = 60) -> Head:
    return train_head(*examples(), HeadConfig(epochs=epochs))[0]


def found_first(head: Head, seed: int) -> float:
    features, relevant, kept = examples(seed)
    scores = np.where(kept, head.score(features), -np.inf)
    return float(relevant[np.arange(QUERIES), scores.argmax(axis=1)].mean())


def test_untrained_it_keeps_the_order_of_retrieval() -> None:
    head = trained(epochs=0)
    features, _, _ = examples(1)
    np.testing.assert_array_equal(np.argsort(head.score(features), axis=1), np.argsort(features[:, :, 0], axis=1))


def test_it_learns_the_feature_that_matters() -> None:
    head = trained()
    assert found_first(trained(epochs=0), seed=1) < 0.2
    assert found_first(head, seed=1) > 0.9


def test_the_same_seed_gives_the_same_head() -> None:
    first, second = (trained(epochs=3) for _ in range(2))
    np.testing.assert_array_equal(first.w1, second.w1)
    np.testing.assert_array_equal(first.linear, second.linear)


def test_the_best_state_on_held_out_queries_is_kept_and_nothing_better_ends_it() -> None:
    done: list[int] = []
    config = HeadConfig(learning_rate=0.3, patience=3)
    head, curve = train_head(*examples(), config, done.append)
    assert curve.valid[curve.best] == min(curve.valid)
    assert len(curve.train) == len(done) == curve.best + 3 < 60
    assert curve.stopped == f"no better on what is held out since epoch {curve.best}"
    short, _ = train_head(*examples(), HeadConfig(learning_rate=0.3, epochs=curve.best))
    np.testing.assert_array_equal(short.w1, head.w1)


def test_a_loss_that_breaks_leaves_the_order_of_retrieval() -> None:
    head, curve = train_head(*examples(), HeadConfig(learning_rate=1e30))
    assert "no longer finite in epoch 1" in curve.stopped
    np.testing.assert_array_equal(head.w1, trained(epochs=0).w1)
    features, relevant, kept = examples()
    with pytest.raises(TrainingError, match="not finite before learning"):
        train_head(features * np.float32(np.nan), relevant, kept, HeadConfig())


def test_the_loss_is_the_softmax_over_candidates_without_padding() -> None:
    features = np.array([[[2.0], [1.0], [0.0], [50.0]]], np.float32)
    kept = np.array([[True, True, True, False]])
    relevant = np.array([[True, False, True, False]])
    network = _Network((features, relevant, kept), np.array([0]), HeadConfig(hidden=2), np.random.default_rng(0))
    loss = network.loss(np.array([0]))
    x = (features[0, :3, 0] - 1.0) / np.std([2, 1, 0])
    log_softmax = x - np.log(np.exp(x).sum())
    assert loss.item() == pytest.approx(-(log_softmax[0] + log_softmax[2]) / 2, rel=1e-5)


def test_too_few_queries_are_an_error() -> None:
    features, relevant, kept = examples()
    relevant[5:] = False
    with pytest.raises(TrainingError, match="only 5 users have a candidate they later took"):
        train_head(features, relevant, kept, HeadConfig())
