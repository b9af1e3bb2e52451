"""The loop keeps the best state, stops in time, and gives the same bits after a kill."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load

from indexing.errors import DamagedFileError, TrainingError
from retrieval.training.loop import Schedule, _pieces, digest, train


class Walk:
    """One number that goes down by 1 each epoch; what is held out says how good each place is."""

    def __init__(self, places: list[float] | None = None, broken_in: int = 0) -> None:
        self.at = torch.zeros(1).requires_grad_()
        self.optimizer: torch.optim.Optimizer = torch.optim.SGD([self.at], lr=0.5)
        self.places, self.broken_in = places, broken_in

    def losses(self, rng: np.random.Generator) -> Iterator[torch.Tensor]:
        epoch = round(-self.at.item()) + 1
        for _ in range(2):
            yield (self.at * (torch.nan if epoch == self.broken_in else 1.0)).sum()

    def valid(self) -> float | None:
        return None if self.places is None else self.places[round(-self.at.item())]


def run(walk: Walk, epochs: int = 6, patience: int = 0) -> tuple[float, list[int], int, str]:
    seen: list[int] = []
    curve = train(walk, np.random.default_rng(0), Schedule(epochs, patience), seen.append)
    return walk.at.item(), seen, curve.best, curve.stopped


def test_without_anything_held_out_the_last_state_stays() -> None:
    assert run(Walk(), 3) == (-3.0, [1, 2, 3], 3, "")
    curve = train(Walk(), np.random.default_rng(0), Schedule(3))
    assert (curve.train, curve.valid) == ((-0.25, -1.25, -2.25), ())
    assert curve.to_json() == {"train": (-0.25, -1.25, -2.25), "valid": (), "best": 3, "stopped": ""}


def test_the_best_state_is_kept_and_patience_ends_it() -> None:
    places = [5.0, 4.0, 2.0, 3.0, 2.0, 1.0, 0.5]
    assert run(Walk(places)) == (-6.0, [1, 2, 3, 4, 5, 6], 6, "")
    assert run(Walk(places), epochs=4) == (-2.0, [1, 2, 3, 4], 2, "")  # no better is not better
    place, seen, best, stopped = run(Walk(places), patience=2)
    assert (place, seen, best) == (-2.0, [1, 2, 3, 4], 2)
    assert stopped == "no better on held-out data since epoch 2"


def test_the_start_is_kept_when_nothing_is_better() -> None:
    assert run(Walk([1.0, 2.0, 3.0, 4.0]), 3) == (0.0, [1, 2, 3], 0, "")
    assert run(Walk([1.0]), 0) == (0.0, [], 0, "")


def test_a_loss_that_is_not_finite_stops_at_the_last_good_state() -> None:
    expected = "the loss was no longer finite in epoch 3; the state of epoch 2 is kept"
    assert run(Walk(broken_in=3)) == (-2.0, [1, 2], 2, expected)
    assert run(Walk([3.0, 2.0, 1.0, 0.0], broken_in=3)) == (-2.0, [1, 2], 2, expected)
    assert run(Walk([3.0, 2.0, np.nan]))[:3] == (-1.0, [1], 1)
    assert run(Walk([3.0, 2.0], broken_in=1))[:3] == (0.0, [], 0)  # the start was measured, so it is a good state


def test_without_a_good_state_it_is_an_error() -> None:
    with pytest.raises(TrainingError, match="not finite in the first epoch"):
        run(Walk(broken_in=1))
    with pytest.raises(TrainingError, match="not finite before the first epoch"):
        run(Walk([np.inf]))


def test_weights_that_break_in_the_last_step_are_not_kept() -> None:
    class OneStep(Walk):
        def losses(self, rng: np.random.Generator) -> Iterator[torch.Tensor]:
            yield self.at.sum()

    walk = OneStep()
    walk.optimizer.param_groups[0]["lr"] = torch.inf
    with pytest.raises(TrainingError, match="first epoch"):
        run(walk, 1)


class Noisy:
    """Matrices learned by Adam from noise of the generator: every bit of its state matters."""

    def __init__(self) -> None:
        start = np.random.default_rng(3).normal(size=(4, 5)).astype(np.float32)
        self.parts = [torch.from_numpy(start).requires_grad_(), torch.zeros(()).requires_grad_()]
        self.optimizer: torch.optim.Optimizer = torch.optim.AdamW(self.parts, lr=0.1, weight_decay=0.01)

    def losses(self, rng: np.random.Generator) -> Iterator[torch.Tensor]:
        for _ in range(3):
            wanted = torch.from_numpy(rng.normal(size=(4, 5)).astype(np.float32))
            yield ((self.parts[0] * self.parts[1].exp() - wanted) ** 2).mean()

    def valid(self) -> float | None:
        return float((self.parts[0].detach() ** 2).mean())


class Killed(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("killed_after", [1, 2, 5])
def test_after_a_kill_it_continues_to_the_same_bits(tmp_path: Path, killed_after: int) -> None:
    whole = Noisy()
    curve = train(whole, np.random.default_rng(0), Schedule(5))
    schedule = Schedule(5, checkpoint=tmp_path / "work" / "run.safetensors")

    def kill(epoch: int) -> None:
        if epoch == killed_after:
            raise Killed

    with pytest.raises(Killed):
        train(Noisy(), np.random.default_rng(0), schedule, kill)
    again, after = Noisy(), list[int]()
    resumed = train(again, np.random.default_rng(99), schedule, after.append)  # the generator is the one of before
    assert after == list(range(killed_after + 1, 6))
    assert resumed == curve
    for first, second in zip(whole.parts, again.parts, strict=True):
        np.testing.assert_array_equal(first.detach().numpy(), second.detach().numpy())


def test_what_is_large_is_written_after_each_fourth_pass_and_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Noisy()
    curve = train(whole, np.random.default_rng(0), Schedule(10))
    monkeypatch.setattr("retrieval.training.loop.SMALL_BYTES", 20 * 4)  # bytes; there is one number more
    path = tmp_path / "run.safetensors"

    def kill(epoch: int) -> None:
        assert path.exists() == (epoch >= 4)
        if epoch == 7:
            raise Killed

    with pytest.raises(Killed):
        train(Noisy(), np.random.default_rng(0), Schedule(10, checkpoint=path), kill)
    again, after = Noisy(), list[int]()
    assert train(again, np.random.default_rng(99), Schedule(10, checkpoint=path), after.append) == curve
    assert after == [5, 6, 7, 8, 9, 10]
    for first, second in zip(whole.parts, again.parts, strict=True):
        np.testing.assert_array_equal(first.detach().numpy(), second.detach().numpy())
    nothing: list[int] = []
    train(Noisy(), np.random.default_rng(99), Schedule(10, checkpoint=path), nothing.append)
    assert nothing == []  # the last is there


@pytest.mark.parametrize("killed_after", [1, 3])
def test_the_best_state_is_kept_through_a_kill_also_when_it_was_not_the_last(killed_after: int, tmp_path: Path) -> None:
    schedule = Schedule(4, checkpoint=tmp_path / "run.safetensors")

    def kill(epoch: int) -> None:
        if epoch == killed_after:
            raise Killed

    with pytest.raises(Killed):
        train(Walk([5.0, 1.0, 2.0, 3.0, 4.0]), np.random.default_rng(0), schedule, kill)
    walk = Walk([5.0, 1.0, 2.0, 3.0, 4.0])
    curve = train(walk, np.random.default_rng(0), schedule)
    assert (walk.at.item(), curve.best, curve.valid) == (-1.0, 1, (5.0, 1.0, 2.0, 3.0, 4.0))
    tensors = load((tmp_path / "run.safetensors").read_bytes()[32:])  # behind the checksum
    assert {name.split(".")[0] for name in tensors} == {"now", "best"}


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    train(Walk(), np.random.default_rng(0), Schedule(1, checkpoint=path))
    with pytest.raises(DamagedFileError, match="no checkpoint of this training"):
        train(Noisy(), np.random.default_rng(0), Schedule(1, checkpoint=path))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DamagedFileError, match="delete it"):
        train(Walk(), np.random.default_rng(0), Schedule(1, checkpoint=path))


def test_a_name_tells_settings_and_data_apart() -> None:
    names = {
        digest({"seed": 0}, np.arange(3)),
        digest({"seed": 1}, np.arange(3)),
        digest({"seed": 0}, np.arange(4)),
        digest({"seed": 0}, np.arange(3, dtype=np.int32)),
        digest({"seed": 0}, np.arange(3)[::-1]),
    }
    assert len(names) == 5


@pytest.mark.parametrize("place", [0, 40, 300, -5, -1])
def test_a_checkpoint_with_one_flipped_bit_is_refused(tmp_path: Path, place: int) -> None:
    path = tmp_path / "run.safetensors"
    train(Walk(), np.random.default_rng(0), Schedule(1, checkpoint=path))
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)
    with pytest.raises(DamagedFileError, match=r"its checksum is wrong.*delete it"):
        train(Walk(), np.random.default_rng(0), Schedule(2, checkpoint=path))
    path.write_bytes(bytes(data[:20]))
    with pytest.raises(DamagedFileError, match="delete it"):
        train(Walk(), np.random.default_rng(0), Schedule(2, checkpoint=path))


def test_pieces_are_a_file_of_safetensors() -> None:
    tensors = {
        "table": torch.arange(6.0).reshape(2, 3),
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "step": torch.tensor(7.0),
        "none": torch.zeros(0, 4),
    }
    data = b"".join(_pieces(tensors, {"state": "{}"}))
    assert len(data) == 8 + int.from_bytes(data[:8], "little") + 4 * 13
    read = load(data)
    assert set(read) == set(tensors)
    for name, tensor in tensors.items():
        torch.testing.assert_close(read[name], tensor, rtol=0, atol=0)
