"""Learning attention: nothing before learning, the loss by brute force, numpy as torch, the same from the same seed."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from indexing.errors import TrainingError
from retrieval.fitting.selection.serving_weights import apply_serving, select_serving
from retrieval.interactions.histories import History, histories
from retrieval.models.behaviour import Behaviour, QueryTower
from retrieval.models.new_items import ColdStartModel
from retrieval.training.behaviour.attention import (
    AttentionTraining,
    Window,
    candidates,
    train_attention,
    window,
    window_targets,
)
from retrieval.training.behaviour.behaviour import train_behaviour
from retrieval.training.config import AttentionConfig, BehaviourConfig
from retrieval.training.one_standard_error import Values
from retrieval.training.settings import settings_of
from tests.retrieval.training.test_behaviour import COUNT, DESCRIBED, ITEMS, SMALL, log_of

HISTORIES = histories(log_of(), ITEMS)


class Plain(AttentionConfig):
    HIDDEN_DROPOUT = 0.0
    BATCH_SIZE = 8


class Dropping(Plain):
    HIDDEN_DROPOUT = 0.2


class OneTarget(Plain):
    NUM_TARGETS = 1


class TwoTargets(Plain):
    NUM_TARGETS = 2


class ThreeSteps(Plain):
    MAX_STEPS = 3


SIZES: dict[str, Any] = {"dims": 8, "layers": 2, "epochs": 4, "max_length": 5}
PLAIN = Plain(**SIZES, dropout=0.0)
DROPPING = Dropping(**SIZES, dropout=0.3)
WARM = np.arange(COUNT)


@pytest.fixture(scope="module")
def block() -> Behaviour:
    return replace(train_behaviour(HISTORIES, DESCRIBED, SMALL), popular=0.5)


def worth_of(block: Behaviour) -> np.ndarray:
    return block.weight_bins / np.float32(3)


def learned(block: Behaviour, config: AttentionConfig = PLAIN) -> AttentionTraining:
    return train_attention(block, HISTORIES, worth_of(block), WARM, config)


def test_before_learning_it_changes_nothing(block: Behaviour) -> None:
    start = replace(block, attention=learned(block, replace(PLAIN, epochs=0)).attention())
    rows = [past.rows for past in HISTORIES] + [np.array([3]), np.empty(0, np.int64)]
    np.testing.assert_allclose(start.queries(rows), block.queries(rows), atol=1e-6)


def test_numpy_says_what_torch_said_at_a_length_of_one(block: Behaviour) -> None:
    state = learned(block)
    attention = state.attention()
    lasts = [past[-PLAIN.max_length :] for past in HISTORIES]
    with torch.no_grad():
        whole = (
            state.states([Window(past, np.arange(len(past))) for past in lasts], np.random.default_rng(0))
            @ state.output_weights
        )
    ends = np.cumsum([len(past) for past in lasts]) - 1
    length = np.linalg.norm(whole[ends].numpy(), axis=1).mean()
    assert length > 0.01
    user_histories = [past[: 1 + number % PLAIN.max_length] for number, past in enumerate(HISTORIES[:12])]
    windows = [Window(past, np.arange(len(past))) for past in user_histories]
    with torch.no_grad():
        states = (state.states(windows, np.random.default_rng(0)) @ state.output_weights).numpy() / length
        logits = state.logits(windows, WARM, np.random.default_rng(0)).numpy() / length / 10
    lines = iter(zip(states, logits, strict=True))
    for past in user_histories:
        for end in range(1, len(past) + 1):
            expected, scores = next(lines)
            part = past[:end]
            found = attention.queries(
                block.context_factors[part.rows], part.weights, block.weight_bins, np.array([end])
            )[0]
            np.testing.assert_allclose(found, expected, atol=1e-5)
            np.testing.assert_allclose(block.items[:, :-1] @ found, scores, atol=1e-5)
    assert next(lines, None) is None


def test_the_loss_is_that_of_a_sum_over_places_by_hand(block: Behaviour) -> None:
    state, warm = learned(block, TwoTargets(**SIZES, dropout=0.0)), np.arange(0, COUNT, 2)
    state.warm, worth = warm, worth_of(block)
    windows = [
        Window(HISTORIES[0], np.array([0, 1, 3])),
        Window(HISTORIES[1], np.array([2, 5])),
        Window(HISTORIES[2], np.array([0])),
    ]
    top, below = 0.0, 0.0
    for past, places in windows:
        for number, place in enumerate(places.tolist()):
            scores = 10 * block.items[:, :-1].astype(np.float64) @ _asked(state, places[: number + 1], past)
            nexts = past[place + 1 : place + 3]
            targets = {
                int(row): worth[int(np.abs(block.weight_bins - weight).argmin())]
                for row, weight in zip(nexts.rows, nexts.weights, strict=True)
                if row in warm
            }
            allowed = [row for row in warm.tolist() if row not in past.rows[: place + 1]]
            total, grades = np.log(np.sum(np.exp(scores[allowed]))), sum(targets.values())
            loss = sum(grade / grades * (total - scores[row]) for row, grade in targets.items())
            count = np.sqrt(grades / len(places))
            top, below = top + count * loss, below + count
    assert below > 0
    found = float(state.loss(windows, np.random.default_rng(0)).detach())
    assert found == pytest.approx(top / below, rel=1e-4)


def _asked(state: AttentionTraining, places: np.ndarray, past: History) -> np.ndarray:
    """What attention adds after some places of a history, with nothing else in the batch."""
    with torch.no_grad():
        states = state.states([Window(past, places)], np.random.default_rng(0)) @ state.output_weights
    return states[-1].double().numpy()


def test_distances_are_those_before_anything_was_left_out(block: Behaviour) -> None:
    state, past = learned(block), HISTORIES[0]
    near = _asked(state, np.array([3, 4]), past)
    moved = History("ann", past.rows[[3, 0, 1, 2, 4]], past.timestamps[:5], past.weights[[3, 0, 1, 2, 4]])
    far = _asked(state, np.array([0, 4]), moved)
    assert np.abs(near - far).max() > 1e-4


def test_equally_long_or_not_a_window_is_read_alike(block: Behaviour) -> None:
    state = learned(block)
    windows = [
        Window(HISTORIES[0], np.arange(6)),
        Window(HISTORIES[1], np.array([1])),
        Window(HISTORIES[2], np.arange(3)),
    ]
    with torch.no_grad():
        together = state.states(windows, np.random.default_rng(0))
        alone = [state.states([one], np.random.default_rng(0)) for one in windows]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)


def test_a_drawn_sample_holds_the_targets_for_their_own_places_alone() -> None:
    rng, windows = (
        np.random.default_rng(0),
        [Window(HISTORIES[0], np.array([0, 1])), Window(HISTORIES[1], np.array([2]))],
    )
    rows, log_expected = candidates(windows, WARM, 10, 2, rng)
    nexts = {*HISTORIES[0].rows[1:4].tolist(), *HISTORIES[1].rows[3:5].tolist()}
    assert nexts <= set(rows.tolist())
    assert np.isfinite(log_expected.numpy()).sum() == 10
    np.testing.assert_allclose(log_expected.numpy()[np.isfinite(log_expected.numpy())], np.log(10 / COUNT), rtol=1e-6)
    assert set(rows[np.isinf(log_expected.numpy())].tolist()) <= nexts
    found, known = window_targets(windows, [past.weights for past, _ in windows], rows, 2)
    expected = np.zeros((3, len(rows)), np.float32)
    for line, (past, place) in enumerate([(HISTORIES[0], 0), (HISTORIES[0], 1), (HISTORIES[1], 2)]):
        for after in (place + 1, place + 2):
            expected[line, np.flatnonzero(rows == past.rows[after])] = past.weights[after]
        np.testing.assert_array_equal(rows[known[line].numpy()], np.intersect1d(rows, past.rows[: place + 1]))
    np.testing.assert_array_equal(found.numpy(), expected)


def test_of_very_many_users_a_pass_reads_some(block: Behaviour) -> None:
    state = learned(block, ThreeSteps(**SIZES | {"epochs": 0}, dropout=0.0))
    assert len(HISTORIES) > 3 * PLAIN.BATCH_SIZE
    assert len(list(state.losses(np.random.default_rng(0)))) == 3
    state.config = PLAIN
    assert len(list(state.losses(np.random.default_rng(0)))) == -(-len(HISTORIES) // PLAIN.BATCH_SIZE)


def test_windows_hold_what_something_follows() -> None:
    rng, drawn = np.random.default_rng(0), []
    for _ in range(200):
        places = window(HISTORIES[0], 3, 0.5, rng).positions
        assert 1 <= len(places) <= 3
        assert places[-1] - places[0] < 3
        drawn += places.tolist()
    assert set(drawn) == set(range(len(HISTORIES[0]) - 1))
    np.testing.assert_array_equal(window(HISTORIES[0], 99, 0.0, rng).positions, np.arange(len(HISTORIES[0]) - 1))


def alternating(users: int, seed: int, length: int = 14) -> list[History]:
    """Items of two kinds; the next is of the first kind where the last two were alike: no sum of both can say so."""
    rng, made = np.random.default_rng(seed), []
    for user in range(users):
        kinds = rng.integers(2, size=2).tolist()
        while len(kinds) < length:
            kinds.append((kinds[-1] != kinds[-2]) ^ (rng.random() < 0.2))
        drawn = [rng.permutation(COUNT // 2) for _ in range(2)]
        rows = np.array([2 * drawn[int(kind)][place] + int(kind) for place, kind in enumerate(kinds)])
        made.append(History(f"u{user}", rows, np.arange(length), np.ones(length, np.float32)))
    return made


def test_it_learns_what_no_sum_of_items_can_say() -> None:
    user_histories, others = alternating(200, 0), alternating(100, 1)
    kind = np.tile(np.array([1, -1], np.float32), COUNT // 2)
    noise = np.random.default_rng(2).normal(0, 0.3, (COUNT, 3)).astype(np.float32)
    tower = QueryTower(np.array([3], np.float32), np.ones((1, 1), np.float32), np.zeros(2, np.float32), share=0.1)
    predictor = ColdStartModel(noise, 1.0, np.zeros((COUNT, 5), np.float32), np.zeros(5, np.float32))
    items, said = np.stack([kind, noise[:, 0], 0 * kind], axis=1), np.stack([kind, noise[:, 1]], axis=1)
    one = np.ones(1, np.float32)
    block = Behaviour(items, said, np.ones(COUNT, np.float32), one, (tower,), predictor)
    same = np.array([past.rows[-2] % 2 == past.rows[-3] % 2 for past in others])
    shares = []
    for epochs in (0, 18):
        config = OneTarget(dims=16, layers=1, epochs=epochs, max_length=20, learning_rate=1e-2, dropout=0.0)
        state = train_attention(block, user_histories, one, WARM, config)
        queries = replace(block, attention=state.attention()).queries([past.rows[:-1] for past in others])
        shares.append(float(np.mean(((queries @ items.T) @ kind > 0) == same)))
    assert shares[0] < 0.6
    assert shares[1] > 0.95


def test_the_same_seed_gives_the_same_bytes_and_another_another() -> None:
    config = replace(SMALL, attention=DROPPING)
    first, second = (train_behaviour(HISTORIES, DESCRIBED, config).to_bytes() for _ in range(2))
    assert first == second
    without = train_behaviour(HISTORIES, DESCRIBED, SMALL)
    with_it = Behaviour.from_bytes(first)
    np.testing.assert_array_equal(with_it.items, without.items)  # the index does not grow
    rows = [past.rows[:3] for past in HISTORIES]
    other = train_behaviour(HISTORIES, DESCRIBED, replace(SMALL, attention=replace(PLAIN, seed=1)))
    assert np.abs(with_it.queries(rows) - without.queries(rows)).max() > 1e-2
    assert np.abs(with_it.queries(rows) - other.queries(rows)).max() > 1e-2


def test_a_killed_training_continues_to_the_same_bits(block: Behaviour, tmp_path: Path) -> None:
    given = (block, HISTORIES, worth_of(block), WARM, DROPPING)
    whole = train_attention(*given)

    def kill(epoch: int, _: AttentionTraining) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_attention(*given, kill, work=tmp_path)
    done: list[int] = []
    resumed = train_attention(*given, lambda epoch, _: done.append(epoch), work=tmp_path)
    assert done == [3, 4]
    assert resumed.curve == whole.curve
    first, second = (state.attention().tensors() for state in (whole, resumed))
    for name, tensor in first.items():
        np.testing.assert_array_equal(second[name], tensor)


def test_serving_chooses_how_much_it_counts(block: Behaviour) -> None:
    attending = replace(block, attention=learned(block).attention())
    asked: list[float] = []

    def judge(tried: Behaviour) -> Values:
        assert tried.attention is not None
        asked.append(tried.attention.share)
        return np.full(20, -abs(tried.attention.share - 0.6))

    chosen, serving, _ = select_serving(attending, judge)
    assert serving["attention"] == 0.6
    assert chosen.attention is not None
    assert chosen.attention.share == 0.6
    assert {0.0, 1.0} < set(asked)
    assert "attention" not in select_serving(block, lambda tried: np.full(20, tried.popular))[1]
    again = apply_serving(attending, {name: value for name, value in serving.items() if name != "attention"})
    assert again.attention is not None
    assert again.attention.share == 1.0


def test_settings_ask_for_it() -> None:
    given = settings_of(BehaviourConfig, {"attention": {"layers": 2}})
    assert given.attention == AttentionConfig(layers=2)
    assert settings_of(BehaviourConfig, asdict(given)) == given
    assert settings_of(BehaviourConfig, {"attention": None}).attention is None


def test_what_cannot_be_learned_is_refused(block: Behaviour) -> None:
    with pytest.raises(TrainingError, match="two or more"):
        train_attention(block, [past[:1] for past in HISTORIES], worth_of(block), WARM, PLAIN)
    with pytest.raises(TrainingError, match="3 heads"):
        train_attention(block, HISTORIES, worth_of(block), WARM, replace(PLAIN, heads=3))
