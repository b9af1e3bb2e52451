"""Learning the behaviour block: closed forms against oracles, a planted world, the same from the same seed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import LeakError, TrainingError
from retrieval.evaluation.baselines import EASE
from retrieval.evaluation.splits.leaks import check_past_only
from retrieval.evaluation.splits.splits import at_time
from retrieval.interactions.histories import History, histories
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.item_popularity import interaction_counts
from retrieval.models.features.item_features import FeatureMatrix
from retrieval.training.behaviour.behaviour import popularity, train_behaviour, weight_bins_of
from retrieval.training.behaviour.ease import Whitening, first_eigenvectors, low_rank_ease
from retrieval.training.behaviour.next_items import TowerTraining, train_next_items
from retrieval.training.config import BehaviourConfig, NextItemsConfig

GROUPS, SIZE = 5, 12
COUNT = GROUPS * SIZE
SMALL = BehaviourConfig(ease_dims=6, regularisation=5.0, next_items=NextItemsConfig(dims=6, epochs=2))


class AllFeatures(NextItemsConfig):
    FEATURE_DROPOUT = 0.0


class Sampled(AllFeatures):
    MAX_NEGATIVES = COUNT // 3


def log_of(users: int = 80, seed: int = 0, hidden: int = 0) -> Interactions:
    """Users stay within a group of items; the last ``hidden`` items of each group are never touched."""
    rng, lines = np.random.default_rng(seed), []
    for user in range(users):
        group = rng.integers(GROUPS)
        for place, item in enumerate(rng.permutation(SIZE - hidden)[:7]):
            lines.append((f"u{user:03}", f"i{group * SIZE + item:03}", user + 1000 * place, float(rng.integers(1, 6))))
    names = ("user", "item", "time", "weight")
    return Interactions.from_arrow(pa.table(dict(zip(names, map(list, zip(*lines, strict=True)), strict=True))))


ITEMS = ItemIds([f"i{number:03}" for number in range(COUNT)])
LINES = np.repeat(np.eye(GROUPS, dtype=np.float32), SIZE, axis=0) - 1 / GROUPS
DESCRIBED = FeatureMatrix(LINES)


def test_without_times_the_order_of_a_history_says_nothing() -> None:
    dated = histories(log_of(), ITEMS)
    undated = [replace(history, timestamps=np.zeros(len(history), np.int64)) for history in dated]
    levels = weight_bins_of(dated)
    given = (LINES, levels, levels / np.float32(3), np.arange(COUNT), NextItemsConfig(dims=4))
    found = [
        TowerTraining(some, *given, np.random.default_rng(0)).half_lives.exp().tolist() for some in (dated, undated)
    ]
    assert found[0] == pytest.approx([15, 3, 15])
    assert found[1] == pytest.approx([1e9] * 3)


def test_low_rank_ease_is_the_svd_of_what_ease_predicts() -> None:
    log = log_of()
    user_histories = histories(log, ITEMS)
    x = np.zeros((len(user_histories), COUNT))
    for line, past in enumerate(user_histories):
        x[line, past.rows] = 1
    weights = EASE.fit(log, ITEMS, regularisation=5.0).weights
    _, _, right = np.linalg.svd(x @ weights)
    worth = [np.ones(len(past), np.float32) for past in user_histories]
    said, items = low_rank_ease(user_histories, worth, np.arange(COUNT), COUNT, 10, 5.0)
    np.testing.assert_allclose(said @ items.T, weights @ right[:10].T @ right[:10], atol=1e-6)


def test_left_out_items_say_nothing_and_the_others_as_if_they_were_not_there() -> None:
    user_histories = histories(log_of(), ITEMS)
    kept = np.arange(0, COUNT, 2)
    worth = [past.weights for past in user_histories]
    said, items = low_rank_ease(user_histories, worth, kept, COUNT, 8, 5.0)
    mask = [np.isin(past.rows, kept) for past in user_histories]
    fewer = [
        History(past.user_id, past.rows[there] // 2, past.timestamps[there], past.weights[there])
        for past, there in zip(user_histories, mask, strict=True)
    ]
    alone = low_rank_ease(fewer, [past.weights for past in fewer], np.arange(len(kept)), len(kept), 8, 5.0)
    np.testing.assert_allclose(said @ items.T, alone[0] @ alone[1].T, atol=1e-6)


def test_eigenvectors_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(120, 120)))[0]
    matrix = (basis * 0.8 ** np.arange(120)) @ basis.T
    found = first_eigenvectors(matrix, 10)
    np.testing.assert_allclose(found @ found.T, basis[:, :10] @ basis[:, :10].T, atol=1e-8)


def test_whitening_keeps_differences_of_scores_and_makes_length_their_spread() -> None:
    rng = np.random.default_rng(0)
    items, query = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + 3, rng.normal(size=6)
    white = Whitening.of(items)
    before, after = items @ query, white.apply(items) @ (query @ white.back)
    np.testing.assert_allclose(before - before.mean(), after, atol=1e-9)
    assert after.std() == pytest.approx(np.linalg.norm(query @ white.back))


def test_items_that_nobody_touched_are_recommended_by_their_content() -> None:
    log = log_of(hidden=3)
    block = train_behaviour(histories(log, ITEMS), DESCRIBED, SMALL)
    never = np.arange(COUNT) % SIZE >= SIZE - 3
    assert (block.confidence[never] == 0).all()
    both = np.concatenate([block.items, block.context_factors], axis=1)
    np.testing.assert_allclose(both[never], block.predictor.predict(DESCRIBED)[never], atol=1e-6)
    assert np.sqrt(np.mean(np.sum(block.items**2, axis=1))) == pytest.approx(1, rel=1e-5)
    assert (block.confidence[~never] > 0.5).all()
    scores = block.queries([np.arange(4) + group * SIZE for group in range(GROUPS)])[:, :-1] @ block.items[:, :-1].T
    best = np.flatnonzero(never)[np.argsort(-scores[:, never], axis=1)[:, :3]]
    np.testing.assert_array_equal(best // SIZE, np.repeat(np.arange(GROUPS)[:, None], 3, axis=1))


def test_confidence_grows_with_interactions() -> None:
    user_histories = histories(log_of(), ITEMS)
    block = train_behaviour(user_histories, DESCRIBED, replace(SMALL, next_items=None, shrinkage=2.0))
    counts = interaction_counts(user_histories, COUNT)
    np.testing.assert_allclose(block.confidence, counts / (counts + 2), rtol=1e-6)


def test_the_same_seed_gives_the_same_block() -> None:
    user_histories = histories(log_of(), ITEMS)
    first, second = (train_behaviour(user_histories, DESCRIBED, SMALL) for _ in range(2))
    assert first.to_bytes() == second.to_bytes()
    other = train_behaviour(
        user_histories, DESCRIBED, replace(SMALL, next_items=NextItemsConfig(dims=6, epochs=2, seed=1))
    )
    assert np.abs(first.items - other.items).max() > 1e-3


def test_numpy_scores_as_torch_did() -> None:
    user_histories = histories(log_of(), ITEMS)
    config = AllFeatures(dims=6, epochs=2, dropout=0.0, id_dropout=0.0)
    levels = weight_bins_of(user_histories)
    state = train_next_items(user_histories, levels, levels / np.float32(3), np.arange(COUNT), LINES, config)
    tower, items, log_chances = state.tower(np.arange(COUNT))
    said = log_chances.astype(np.float32)
    with torch.no_grad():
        expected = state._scores(
            [(past, len(past)) for past in user_histories[:9]], np.arange(COUNT), np.random.default_rng(0)
        ).numpy()
    for past, line in zip(user_histories, expected, strict=False):
        query = tower.query(said[past.rows], past.weights, levels)
        standard = (line - line.mean()) / line.std()  # a whitened tower's scores come with this spread
        np.testing.assert_allclose(query @ items.T, standard, atol=1e-3)


def test_a_drawn_sample_stands_for_all_items() -> None:
    user_histories = histories(log_of(), ITEMS)
    plain = AllFeatures(dims=6, epochs=2, dropout=0.0, id_dropout=0.0)
    levels, warm = weight_bins_of(user_histories), np.arange(COUNT)
    state = train_next_items(user_histories, levels, levels / np.float32(3), warm, LINES, plain)
    batch, rng = [(past, 3) for past in user_histories], np.random.default_rng(0)
    with torch.no_grad():
        whole = float(state._loss(batch, rng))
        state.config = Sampled(dims=6, epochs=2, dropout=0.0, id_dropout=0.0)
        drawn = [state._candidates(batch[:1], rng) for _ in range(200)]
        sampled = np.mean([float(state._loss([one], rng)) for one in batch for _ in range(20)])
    assert {len(rows) for rows, _ in drawn} <= set(range(COUNT // 3, COUNT // 3 + 5))
    # A third of all is expected to be drawn, and stands for three times as much.
    np.testing.assert_allclose(
        np.unique(np.concatenate([log_chances for _, log_chances in drawn])), [np.log(1 / 3), np.inf]
    )
    assert sampled == pytest.approx(whole, rel=0.03)
    by_itself = whole - np.log(3) * np.mean([np.sqrt(np.sum(past.weights[3:] / 3)) for past in user_histories])
    assert abs(by_itself / whole - 1) > 0.2  # what it would be without the correction


def test_of_a_sample_only_the_rows_that_are_read_have_gradients_and_move() -> None:
    user_histories = histories(log_of(), ITEMS)
    levels = weight_bins_of(user_histories)
    config = Sampled(dims=6, dropout=0.0, id_dropout=0.0)
    given = user_histories, LINES, levels, levels / np.float32(3), np.arange(COUNT), config
    state = TowerTraining(*given, np.random.default_rng(0))
    before = [table.detach().clone() for table in (state.items, state.context[0])]
    batch = [(user_histories[0], 3), (user_histories[1], 4)]
    rows, _ = state._candidates(batch, np.random.default_rng(1))
    state._loss(batch, np.random.default_rng(1)).backward()
    assert all(table.grad.is_sparse for table in (state.items, *state.context, state.bias))  # type: ignore[union-attr]
    state.optimizer.step()
    moved = [
        np.flatnonzero((table != was).any(dim=1))
        for table, was in zip((state.items, state.context[0]), before, strict=True)
    ]
    assert moved[0].tolist() == rows.tolist()
    assert moved[1].tolist() == sorted({*user_histories[0].rows[:3].tolist(), *user_histories[1].rows[:4].tolist()})


def test_gradients_by_row_are_those_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    user_histories = histories(log_of(), ITEMS)
    levels = weight_bins_of(user_histories)
    found = []
    for sparse in (True, False):
        config = Sampled(dims=6)
        state = TowerTraining(
            user_histories, LINES, levels, levels / np.float32(3), np.arange(COUNT), config, np.random.default_rng(0)
        )
        candidates = state._candidates([(past, 3) for past in user_histories[:9]], np.random.default_rng(1))
        monkeypatch.setattr(TowerTraining, "_candidates", lambda *_, drawn=candidates: drawn)
        state.config = Sampled(dims=6) if sparse else AllFeatures(dims=6)
        state._loss([(past, 3) for past in user_histories[:9]], np.random.default_rng(1)).backward()
        monkeypatch.undo()
        found.append([table.grad.to_dense() for table in (state.items, *state.context, state.bias)])  # type: ignore[union-attr]
    torch.testing.assert_close(*found)


def test_features_kept_for_all_batches_are_those_of_the_rows() -> None:
    user_histories = histories(log_of(), ITEMS)
    levels, warm = weight_bins_of(user_histories), np.arange(5, COUNT)
    config = NextItemsConfig(dims=4)
    state = TowerTraining(user_histories, LINES, levels, levels / np.float32(3), warm, config, np.random.default_rng(0))
    with torch.no_grad():
        state.feature_weights.copy_(torch.arange(float(state.feature_weights.numel())).view_as(state.feature_weights))
        (kept, kept_bias), (read, bias) = (state._predicted(rows, np.random.default_rng(1)) for rows in (warm, +warm))
        left_out = np.greater_equal(np.random.default_rng(1).random(LINES.shape[1]), 0.5)
        by_hand = LINES[5:] @ np.where(left_out[:, None], 0, 2 * state.feature_weights.numpy())
    assert 0 < left_out.sum() < len(left_out)
    torch.testing.assert_close((kept, kept_bias), (read, bias))
    np.testing.assert_allclose(np.hstack([kept, kept_bias]), by_hand, rtol=1e-5)


def test_the_block_does_not_depend_on_how_many_rows_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    user_histories = histories(log_of(), ITEMS)
    whole = train_behaviour(user_histories, DESCRIBED, SMALL)
    monkeypatch.setattr("retrieval.training.behaviour.behaviour.BLOCK", 7)
    parts = train_behaviour(user_histories, DESCRIBED, SMALL)
    np.testing.assert_allclose(parts.items, whole.items, atol=1e-5)
    np.testing.assert_allclose(parts.context_factors, whole.context_factors, atol=1e-5)


def test_training_brings_up_what_comes_next() -> None:
    user_histories, others = histories(log_of(200), ITEMS), histories(log_of(50, seed=1), ITEMS)
    levels = weight_bins_of(user_histories)
    shares = []
    for epochs in (0, 8):
        config = NextItemsConfig(dims=8, epochs=epochs)
        state = train_next_items(user_histories, levels, levels / np.float32(3), np.arange(COUNT), 0 * LINES, config)
        tower, items, log_chances = state.tower(np.arange(COUNT))
        said = log_chances.astype(np.float32)
        best = [np.argsort(-(items @ tower.query(said[p.rows[:3]], p.weights[:3], levels)))[:SIZE] for p in others]
        shares.append(
            np.mean([(line // SIZE == p.rows[0] // SIZE).mean() for line, p in zip(best, others, strict=True)])
        )
    assert shares[0] < 0.5
    assert shares[1] > 0.9


def test_popularity_is_what_was_liked_early_and_of_late() -> None:
    day = 86_400
    ann = History("ann", np.array([0, 1]), np.array([0, 30 * day]), np.ones(2, np.float32))
    config = {"decay_days": 30.0, "early": 1.0, "disliked": 0.3}
    np.testing.assert_allclose(popularity([ann], 3, **config), np.log1p([np.exp(-1), 0.5, 0.0]))
    bob = History("bob", np.array([2, 0, 1]), np.full(3, 30 * day), np.array([1, 5, 3], np.float32))
    np.testing.assert_allclose(popularity([bob], 3, **config), np.log1p([0.5, 0.25, 0.3]))


def test_a_count_that_knows_the_future_is_found() -> None:
    split = at_time(log_of(), share=0.3)
    whole = Interactions(pa.concat_tables([split.past.table, split.future.table]))
    honest, leaking = (interaction_counts(histories(log, ITEMS), COUNT).tolist() for log in (split.past, whole))
    check_past_only(dict(zip(ITEMS, honest, strict=True)), split.past)
    with pytest.raises(LeakError, match="known only from the future"):
        check_past_only(dict(zip(ITEMS, leaking, strict=True)), split.past)


def test_popularity_and_confidence_are_those_of_the_past() -> None:
    split = at_time(log_of(), share=0.3)
    user_histories = histories(split.past, ITEMS)
    block = train_behaviour(user_histories, DESCRIBED, replace(SMALL, shrinkage=1.0))
    counts = block.confidence / (1 - block.confidence.astype(np.float64))
    check_past_only(dict(zip(ITEMS, np.round(counts).tolist(), strict=True)), split.past)


def test_too_little_is_refused() -> None:
    single = [History("ann", np.array([0]), np.array([0]), np.ones(1, np.float32))]
    with pytest.raises(TrainingError, match="touched 1"):
        train_behaviour(single, DESCRIBED, SMALL)
    with pytest.raises(TrainingError, match="two or more"):
        train_next_items(
            single, np.ones(1, np.float32), np.ones(1, np.float32), np.array([0]), LINES, NextItemsConfig()
        )


def test_a_killed_training_continues_to_the_same_bits(tmp_path: Path) -> None:
    user_histories = histories(log_of(), ITEMS)
    levels = weight_bins_of(user_histories)
    given = (user_histories, levels, levels / np.float32(3), np.arange(COUNT), LINES, NextItemsConfig(dims=4, epochs=4))
    whole = train_next_items(*given)

    def kill(epoch: int, _: TowerTraining) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_next_items(*given, kill, work=tmp_path)
    done: list[int] = []
    resumed = train_next_items(*given, lambda epoch, _: done.append(epoch), work=tmp_path)
    assert done == [3, 4]
    assert resumed.curve == whole.curve
    assert len(resumed.curve.train) == 4
    with torch.no_grad():
        for first, second in zip((whole.items, *whole.context), (resumed.items, *resumed.context), strict=True):
            np.testing.assert_array_equal(first.numpy(), second.numpy())


def test_a_loss_that_is_not_finite_stops() -> None:
    user_histories = histories(log_of(), ITEMS)
    levels = weight_bins_of(user_histories)
    broken = np.full_like(LINES, np.nan)
    with pytest.raises(TrainingError, match="finite"):
        train_next_items(
            user_histories, levels, levels / np.float32(3), np.arange(COUNT), broken, NextItemsConfig(dims=4, epochs=1)
        )
