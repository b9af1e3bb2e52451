"""Nearest neighbours against a loop, ridge regression against its normal equations, and splits by counting."""

from collections import Counter

import numpy as np
import pytest

from indexing.arrays import Vectors
from indexing.errors import InputError, ShapeError
from retrieval.evaluation.encoder_benchmark.probes import (
    STRENGTHS,
    TEMPERATURE,
    Labels,
    fit_linear,
    knn_classes,
    stratified,
)


def clouds(seed: int, count: int = 120, dim: int = 12, classes: int = 4, noise: float = 1.0) -> tuple[Vectors, Labels]:
    """Give vectors around one centre a class, of many lengths, and their classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    labels[:classes] = np.arange(classes)
    vectors = rng.normal(size=(classes, dim))[labels] + noise * rng.normal(size=(count, dim))
    return (vectors * rng.uniform(0.2, 5, (count, 1))).astype(np.float32), labels


def test_one_near_neighbour_outvotes_two_far_ones() -> None:
    train = np.array([[1, 0], [0, 1], [-0.2, 2]], np.float32)
    labels = np.array([0, 1, 1])
    near_the_first = np.array([[10, 1], [1, 10], [1, 1.05]], np.float32)
    # The third has cosines .69 to class 0 and .72 and .65 to class 1: exp(.69/.07) < exp(.72/.07) + exp(.65/.07).
    assert knn_classes(train, labels, near_the_first, k=3).tolist() == [0, 1, 1]
    assert knn_classes(train, labels, near_the_first, k=99).tolist() == [0, 1, 1]
    unweighted = Counter(labels.tolist()).most_common(1)[0][0]
    assert unweighted == 1  # so that the first answer above shows the weights


@pytest.mark.parametrize("k", [1, 3, 20, 500])
def test_neighbours_agree_with_a_loop(k: int) -> None:
    train, labels = clouds(0)
    queries, _ = clouds(1, count=1100)  # over the size of one block
    found = knn_classes(train, labels, queries, k=k)
    for line in (*range(40), 1023, 1024, 1099):
        query = queries[line].astype(np.float64)
        cosines = [float(query @ t / np.linalg.norm(query) / np.linalg.norm(t)) for t in train.astype(np.float64)]
        votes = Counter[int]()
        for place in sorted(range(len(train)), key=lambda place: -cosines[place])[:k]:
            votes[int(labels[place])] += np.exp(cosines[place] / TEMPERATURE)
        assert found[line] == max(votes, key=lambda label: votes[label])


def test_equal_cosines_and_equal_votes_have_an_order() -> None:
    train = np.array([[1, 0], [2, 0], [3, 0]], np.float32)
    assert knn_classes(train, np.array([2, 1, 0]), train[:1], k=1).tolist() == [2]
    assert knn_classes(train, np.array([2, 1, 1]), train[:1], k=2).tolist() == [1]


def test_ridge_solves_its_normal_equations() -> None:
    vectors, labels = clouds(2)
    probe = fit_linear(vectors, labels, valid=np.zeros(0, np.int64), strengths=[0.1])
    values = vectors.astype(np.float64)
    centred, targets = values - values.mean(axis=0), (labels[:, None] == np.arange(4)).astype(np.float64)
    penalty = 0.1 * np.trace(centred.T @ centred) / centred.shape[1]
    weights = np.linalg.solve(centred.T @ centred + penalty * np.eye(12), centred.T @ targets)
    np.testing.assert_allclose(probe.weights, weights, atol=1e-10)
    fitted = values @ probe.weights + probe.bias
    np.testing.assert_allclose(fitted.mean(axis=0), targets.mean(axis=0), atol=1e-10)
    assert probe.classes(vectors).tolist() == fitted.argmax(axis=1).tolist()


def test_the_strength_is_that_of_the_valid_lines_and_the_fit_that_of_all() -> None:
    vectors, labels = clouds(3, count=40, dim=30, noise=3.0)
    valid = np.arange(0, 40, 4)
    rest = np.setdiff1d(np.arange(40), valid)
    none = np.zeros(0, np.int64)
    right = {
        strength: int(
            (
                fit_linear(vectors[rest], labels[rest], valid=none, strengths=[strength]).classes(vectors[valid])
                == labels[valid]
            ).sum()
        )
        for strength in STRENGTHS
    }
    assert len(set(right.values())) > 1  # otherwise there is nothing to choose
    best = max(strength for strength in STRENGTHS if right[strength] == max(right.values()))
    chosen = fit_linear(vectors, labels, valid=valid)
    assert chosen.strength == best
    on_all = fit_linear(vectors, labels, valid=none, strengths=[best])
    np.testing.assert_array_equal(chosen.weights, on_all.weights)


def test_classes_that_nobody_has_are_never_given_and_one_class_is_always_given() -> None:
    vectors, _ = clouds(4)
    probe = fit_linear(vectors, np.full(len(vectors), 1), valid=np.arange(5), classes=3)
    assert set(probe.classes(vectors).tolist()) == {1}
    same = np.ones((6, 3), np.float32)
    assert fit_linear(same, np.array([0, 1, 1, 1, 0, 1]), valid=np.arange(2)).classes(same).tolist() == [1] * 6


def test_a_share_of_each_class_is_drawn() -> None:
    labels = np.repeat([0, 1, 2, 3], [40, 10, 2, 1])
    drawn = stratified(labels, 0.25, np.random.default_rng(0))
    assert Counter(labels[drawn].tolist()) == {0: 10, 1: 2, 2: 1}  # round(2.5) is 2; the only one of a class stays
    assert drawn.tolist() == sorted(set(drawn.tolist()))
    np.testing.assert_array_equal(drawn, stratified(labels, 0.25, np.random.default_rng(0)))
    assert drawn.tolist() != stratified(labels, 0.25, np.random.default_rng(1)).tolist()


def test_what_cannot_be_learned_from_is_refused() -> None:
    vectors, labels = clouds(5)
    with pytest.raises(InputError, match="0 neighbours cannot vote; give 1 or more"):
        knn_classes(vectors, labels, vectors, k=0)
    with pytest.raises(ShapeError, match="119 labels for 120 vectors"):
        knn_classes(vectors, labels[1:], vectors)
    with pytest.raises(InputError, match="no labelled vectors"):
        knn_classes(vectors[:0], labels[:0], vectors)
    with pytest.raises(InputError, match="all 120 rows are held out"):
        fit_linear(vectors, labels, valid=np.arange(120))
    with pytest.raises(ShapeError, match="2 labels for 120 vectors"):
        fit_linear(vectors, labels[:2], valid=np.arange(1))
