"""What goes on from a served tower begins with its answers, and refuses another shape."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from indexing.arrays import Vectors
from indexing.errors import InputError
from retrieval.interactions.histories import History, histories
from retrieval.interactions.item_popularity import interaction_counts
from retrieval.training.behaviour.behaviour import train_behaviour, weight_bins_of
from retrieval.training.behaviour.next_items import TowerTraining
from retrieval.training.behaviour.warm_start import TowerStart
from retrieval.training.config import NextItemsConfig
from retrieval.training.loop import TrainingCurve
from tests.retrieval.training.test_behaviour import COUNT, DESCRIBED, ITEMS, SMALL, AllFeatures, Sampled, log_of

PLAIN = AllFeatures(dims=6, epochs=2, dropout=0.0, id_dropout=0.0)


def begun(user_histories: Sequence[History], start: TowerStart) -> TowerTraining:
    levels = weight_bins_of(user_histories)
    worth = (levels / levels.mean()).astype(np.float32)
    warm = np.flatnonzero(interaction_counts(user_histories, COUNT))
    state = TowerTraining(user_histories, DESCRIBED.values, levels, worth, warm, PLAIN, np.random.default_rng(0))
    start.initialise(state)
    return state


def test_it_scores_as_what_is_served_up_to_one_factor_and_a_constant_for_each_query() -> None:
    user_histories = histories(
        log_of(hidden=2), ITEMS
    )  # of two items of each group nobody knows anything: they are predicted
    block = train_behaviour(user_histories, DESCRIBED, SMALL)
    start = TowerStart.of(block, user_histories)
    assert start is not None
    state, some = begun(user_histories, start), user_histories[:20]
    rows = np.arange(COUNT)
    with torch.no_grad():
        scores = state._scores([(past, len(past)) for past in some], rows, np.random.default_rng(0)).numpy()
    slopes = []
    for past, line in zip(some, scores, strict=True):
        tower = replace(start.tower, share=1.0)
        direction = tower.query(start.context[past.rows], past.weights, block.weight_bins)
        length = np.linalg.norm(_total(start, past, block.weight_bins))
        served = start.items @ direction * length
        slope, constant = np.polyfit(served, line, 1)
        np.testing.assert_allclose(line, slope * served + constant, atol=2e-3 * line.std())
        slopes.append(slope)
    np.testing.assert_allclose(slopes, np.mean(slopes), rtol=1e-3)


def _total(start: TowerStart, past: History, levels: Vectors) -> NDArray[np.float64]:
    """What a history says before its length is taken from it, by hand."""
    total = start.tower.start.astype(np.float64)
    back = np.arange(len(past))[::-1]
    for channel, half_life, worth in zip(
        np.split(start.context[past.rows], 3, axis=1), start.tower.half_lives, start.tower.bin_weights, strict=True
    ):
        total = total + (np.interp(past.weights, levels, worth) * 0.5 ** (back / half_life)) @ channel
    return total


def test_numbers_begin_as_large_as_learning_makes_them() -> None:
    user_histories = histories(log_of(), ITEMS)
    start = TowerStart.of(train_behaviour(user_histories, DESCRIBED, SMALL), user_histories)
    assert start is not None
    state = begun(user_histories, start)
    with torch.no_grad():
        own = (state.items + (state.features @ state.feature_weights)[:, :-1]).numpy()
        said = state.context[0].numpy()
    assert np.sqrt(np.mean(own**2)) == pytest.approx(0.1, rel=1e-4)
    assert np.sqrt(np.mean(said**2)) == pytest.approx(0.085, rel=1e-4)


def test_learning_continues_from_there_with_the_histories_that_are_given() -> None:
    user_histories = histories(log_of(), ITEMS)
    first, again, anew = list[TrainingCurve](), list[TrainingCurve](), list[TrainingCurve]()
    config = replace(SMALL, next_items=replace(PLAIN, epochs=12))
    block = train_behaviour(user_histories, DESCRIBED, config, ended=first.append)
    one = replace(config, next_items=replace(PLAIN, epochs=1))
    train_behaviour(user_histories, DESCRIBED, one, ended=anew.append)
    warm = train_behaviour(
        user_histories, DESCRIBED, one, start=TowerStart.of(block, user_histories), ended=again.append
    )
    assert again[0].train[0] < (first[0].train[0] + first[0].train[-1]) / 2 < anew[0].train[0]
    few = train_behaviour(user_histories, DESCRIBED, one, start=TowerStart.of(block, user_histories[:9]))
    assert not np.array_equal(few.items, warm.items)
    # What is counted is counted of everybody: popularity, but for the scale of all.
    np.testing.assert_allclose(few.items[:, -1] / few.items[0, -1], warm.items[:, -1] / warm.items[0, -1], rtol=1e-5)


@pytest.mark.parametrize("kind", [NextItemsConfig, Sampled])
def test_after_a_kill_it_continues_from_where_it_was_and_not_from_the_start(
    kind: type[NextItemsConfig], tmp_path: Path
) -> None:
    user_histories = histories(log_of(), ITEMS)
    config = replace(SMALL, next_items=kind(dims=6, epochs=4))
    start = TowerStart.of(train_behaviour(user_histories, DESCRIBED, config), user_histories[:30])
    whole = train_behaviour(user_histories, DESCRIBED, config, start=start)

    def kill(epoch: int, _: TowerTraining) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_behaviour(user_histories, DESCRIBED, config, kill, work=tmp_path, start=start)
    after: list[int] = []
    again = train_behaviour(
        user_histories, DESCRIBED, config, lambda epoch, _: after.append(epoch), work=tmp_path, start=start
    )
    assert after == [3, 4]
    assert again.to_bytes() == whole.to_bytes()
    train_behaviour(user_histories, DESCRIBED, config, work=tmp_path)  # from another start it is another training
    assert len(list(tmp_path.iterdir())) == 2


def test_another_shape_is_refused() -> None:
    user_histories = histories(log_of(), ITEMS)
    block = train_behaviour(user_histories, DESCRIBED, SMALL)
    wide = replace(SMALL, next_items=replace(PLAIN, dims=7))
    with pytest.raises(InputError, match=r"of shape \(60, 7\), but \(60, 8\) was set"):
        train_behaviour(user_histories, DESCRIBED, wide, start=TowerStart.of(block, user_histories))
    alone = train_behaviour(user_histories, DESCRIBED, replace(SMALL, next_items=None))
    assert TowerStart.of(alone, user_histories) is None
