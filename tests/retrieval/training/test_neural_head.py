"""The neural head starts with the order of the first source, learns the feature that matters, and sees no padding."""

from pathlib import Path

import numpy as np
import pytest
import torch

from indexing.errors import TrainingError
from retrieval.ranking.heads import NeuralHead
from retrieval.ranking.heads.neural import MAX_DEVIATIONS
from retrieval.training.ranker.neural_head import Examples, _Network, scores_by_torch, train_neural_head
from retrieval.training.ranker_config import HeadConfig

QUERIES, DEPTH, FEATURES = 200, 20, 4


def examples(seed: int = 0) -> Examples:
    """Candidates of which the one with the largest third feature is relevant; the last two are padding."""
    features = np.random.default_rng(seed).normal(size=(QUERIES, DEPTH, FEATURES)).astype(np.float32)
    kept = np.ones((QUERIES, DEPTH), np.bool_)
    kept[:, -2:] = False
    gains = np.zeros((QUERIES, DEPTH), np.float32)
    gains[np.arange(QUERIES), np.where(kept, features[:, :, 2], -9).argmax(axis=1)] = 1
    return Examples(features, gains, kept)


def trained(epochs: int = 15, networks: int = 2) -> NeuralHead:
    return train_neural_head(examples(), HeadConfig(epochs=epochs, ensemble_size=networks, learning_rate=1e-2))[0]


def found_first(head: NeuralHead, seed: int) -> float:
    one = examples(seed)
    scores = np.where(one.mask, head.score(one.features), -np.inf)
    return float((one.gains > 0)[np.arange(QUERIES), scores.argmax(axis=1)].mean())


def test_it_learns_the_feature_that_matters() -> None:
    assert found_first(trained(epochs=0), seed=1) < 0.2
    assert found_first(trained(), seed=1) > 0.9


def test_the_same_seed_gives_the_same_head_and_networks_differ() -> None:
    first, second = (trained(epochs=2) for _ in range(2))
    np.testing.assert_array_equal(first.w1, second.w1)
    assert first.w1.shape == (FEATURES, 2 * HeadConfig().hidden)
    one, other = np.split(first.w1, 2, axis=1)
    assert not np.allclose(one, other)


def test_numpy_scores_as_torch_does() -> None:
    one = examples()
    network = _Network(one, HeadConfig(), np.random.default_rng(0))
    with torch.no_grad():
        hidden = torch.relu(network.x @ network.w1 + network.b1)
        expected = (network.x @ network.linear + hidden @ network.w2).numpy()
    head = network.head()
    np.testing.assert_allclose(head.score(one.features), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scores_by_torch(head, one.features), expected, rtol=1e-5, atol=1e-5)


def test_scores_are_alike_whatever_the_layout_and_however_many_there_are() -> None:
    rng = np.random.default_rng(0)
    count, width, hidden = 5000, 42, 128  # more candidates than are scored at once
    linear, w1, b1, w2 = (
        rng.normal(0, 0.1, shape).astype(np.float32) for shape in [(width,), (width, hidden), (hidden,), (hidden,)]
    )
    mean, scale = rng.normal(size=width).astype(np.float32), rng.uniform(0.01, 1.01, width).astype(np.float32)
    head = NeuralHead(mean, scale, linear, w1, b1, w2)
    features = rng.normal(0, 3, (2, count // 2, width)).astype(np.float32)
    x = np.clip((features.astype(np.float64) - mean) / scale, -MAX_DEVIATIONS, MAX_DEVIATIONS)
    assert (np.abs(x) == MAX_DEVIATIONS).mean() > 0.05  # some are too far from the mean to count in full
    expected = x @ linear + np.maximum(x @ w1 + b1, 0) @ w2
    columns = np.ascontiguousarray(np.moveaxis(features, -1, 0))
    for given in (features, np.moveaxis(columns, 0, -1)):
        np.testing.assert_allclose(head.score(given), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scores_by_torch(head, features), expected, rtol=1e-5, atol=1e-5)
    assert head.score(features[:, :0]).shape == (2, 0)


def test_the_loss_is_the_softmax_over_candidates_without_padding() -> None:
    features = np.array([[[2.0], [1.0], [0.0], [50.0]]], np.float32)
    kept = np.array([[True, True, True, False]])
    gains = np.array([[1, 0, 0.5, 9]], np.float32)
    network = _Network(Examples(features, gains, kept), HeadConfig(), np.random.default_rng(0))
    network.w2.data.zero_()
    x = (features[0, :3, 0] - 1.0) / np.std([2, 1, 0])
    logs = x - np.log(np.exp(x).sum())
    expected = -(logs[0] + 0.5 * logs[2]) / np.sqrt(1.5)
    assert network.loss(torch.tensor([0])).item() == pytest.approx(expected, rel=1e-5)


def test_sets_of_different_depth_are_joined() -> None:
    long = examples()
    short = Examples(long.features[:, :5], long.gains[:, :5], long.mask[:, :5])
    joined = Examples.joined([short, examples(1)])
    assert joined.features.shape == (2 * QUERIES, DEPTH, FEATURES)
    assert not joined.mask[:QUERIES, 5:].any()
    np.testing.assert_array_equal(joined.features[:QUERIES, :5], short.features)
    np.testing.assert_array_equal(joined.gains[QUERIES:], examples(1).gains)


def test_too_few_queries_are_an_error() -> None:
    one = examples()
    one.gains[5:] = 0
    with pytest.raises(TrainingError, match="only 5 users have a candidate they later took"):
        train_neural_head(one, HeadConfig())
    with pytest.raises(TrainingError, match="not finite"):
        train_neural_head(examples()._replace(features=examples().features * np.float32(np.nan)), HeadConfig())


def test_a_killed_head_continues_to_the_same_bits(tmp_path: Path) -> None:
    config = HeadConfig(epochs=4, min_steps=1, ensemble_size=2, hidden=8)
    whole, curve = train_neural_head(examples(), config)
    done: list[int] = []

    def kill(passes: int, total: int) -> None:
        done.append(passes)
        assert total == 8
        if passes == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_neural_head(examples(), config, kill, tmp_path)
    resumed, again = train_neural_head(examples(), config, lambda passes, _: done.append(passes), tmp_path)
    assert done == [1, 2, 3, 4, 5, 6, 7, 8]
    for name, tensor in whole.tensors().items():
        np.testing.assert_array_equal(resumed.tensors()[name], tensor)
    assert again == curve
    other, _ = train_neural_head(examples(1), config, work=tmp_path)  # other examples are another training
    assert not np.array_equal(other.w1, whole.w1)
    assert len(list(tmp_path.glob("head-*.safetensors"))) == 4


def test_the_rate_rises_and_falls_by_the_steps_that_were_taken() -> None:
    network = _Network(examples(), HeadConfig(epochs=5, min_steps=1, batch_size=50), np.random.default_rng(0))
    rates = []
    for _ in range(5):
        for loss in network.losses(np.random.default_rng(0)):
            rates.append(network.optimizer.param_groups[0]["lr"] / 4e-3)
            network.optimizer.zero_grad()
            loss.backward()
            network.optimizer.step()
    assert rates[:7] == pytest.approx([0.04, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0])
    assert rates[-1] == pytest.approx(max(0.04, 0.5 + 0.5 * np.cos(np.pi * (0.95 - 0.3) / 0.7)))
