"""Training on another device than the CPU: no tensor is left behind, and the results are those of the CPU."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from indexing.errors import DeviceError, InputError
from retrieval.fitting.fit import fit
from retrieval.interactions.histories import histories
from retrieval.training.adapter.adapter import train_adapter
from retrieval.training.behaviour.behaviour import train_behaviour
from retrieval.training.behaviour.next_items import train_next_items
from retrieval.training.behaviour.warm_start import TowerStart
from retrieval.training.config import AttentionConfig, NextItemsConfig
from retrieval.training.ranker.neural_head import train_neural_head
from retrieval.training.ranker_config import HeadConfig
from tests.retrieval.training.test_adapter import SHORT, USERS, frozen_items, group_histories
from tests.retrieval.training.test_behaviour import COUNT, DESCRIBED, ITEMS, LINES, SMALL, log_of
from tests.retrieval.training.test_neural_head import examples
from tests.second_device import second_device

HISTORIES = histories(log_of(), ITEMS)
TOY_ITEMS = ["red-mug", "red-shoe", "red-lamp", "blue-mug", "blue-shoe"]
TOY_LOG = pa.table({"user": [f"u{number // 5}" for number in range(100)], "item": 20 * TOY_ITEMS})
NEXT = NextItemsConfig(dims=6, epochs=2)
WEIGHTS = np.array([1.0], np.float32)
NO_GPU = not torch.cuda.is_available()


@pytest.fixture(autouse=True)
def _fused_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch has Adam in one pass for a list of devices, on which the second one is not."""
    kinds = ["cpu", "cuda", "meta"]
    optimizer = sys.modules["torch.optim.optimizer"]
    monkeypatch.setattr(optimizer, "_get_fused_kernels_supported_devices", lambda: kinds, raising=False)


def adapter(work: Path | None = None) -> list[Any]:
    made, curve = train_adapter(frozen_items(missing=0.3), group_histories(60), USERS, SHORT, None, work)
    return [
        made.w1,
        made.b1,
        made.w2,
        *made.gate.slopes.values(),
        *made.gate.offsets.values(),
        curve.train,
        curve.valid,
    ]


def next_items() -> list[Any]:
    state = train_next_items(HISTORIES, WEIGHTS, WEIGHTS, np.arange(COUNT), LINES, NEXT)
    tower, items, context = state.tower(np.arange(COUNT))
    return [tower.half_lives, tower.bin_weights, tower.start, items, context, state.curve.train]


def whole_block() -> list[Any]:
    block = train_behaviour(HISTORIES, DESCRIBED, replace(SMALL, attention=AttentionConfig(dims=8, epochs=1)))
    assert block.attention is not None
    start = TowerStart.of(block, HISTORIES)
    warm = train_behaviour(HISTORIES, DESCRIBED, SMALL, start=start)
    return [block.items, block.context_factors, block.attention.output_weights, block.attention.liked, warm.items]


def head() -> list[Any]:
    made, curve = train_neural_head(examples(), HeadConfig(epochs=1, ensemble_size=1, min_steps=1))
    return [*made.tensors().values(), curve.train]


@pytest.mark.parametrize("train", [adapter, next_items, whole_block, head])
def test_training_stays_on_its_device(train: Callable[[], list[Any]]) -> None:
    here = train()
    with second_device():
        there = train()
    for found, expected in zip(there, here, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_the_second_device_finds_what_is_left_behind() -> None:
    with second_device():
        there, behind = torch.zeros(3), torch.from_numpy(np.ones(3, np.float32))
        with pytest.raises(RuntimeError, match="has tensors on two devices"):
            there + behind
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()
        assert (there + torch.as_tensor(np.ones(3, np.float32))).cpu().tolist() == [1, 1, 1]


def test_a_killed_training_continues_on_another_device(tmp_path: Path) -> None:
    whole = adapter(tmp_path)
    assert list(tmp_path.iterdir())
    with second_device():
        np.testing.assert_allclose(adapter(tmp_path)[0], whole[0], rtol=1e-4, atol=1e-6)


def test_fit_trains_on_the_device_of_its_config(own_toy_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def entered(device: str) -> None:
        raise DeviceError(f"training on {device}")

    monkeypatch.setattr("retrieval.fitting.fit.torch_device", str)
    monkeypatch.setattr("retrieval.fitting.fit.computing_on", entered)
    with pytest.raises(DeviceError, match="training on cuda:1"):
        fit(own_toy_bundle, TOY_LOG, device="cuda:1")


@pytest.mark.skipif(not NO_GPU, reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error(own_toy_bundle: Path) -> None:
    with pytest.raises(DeviceError, match="device='cuda' was asked for, but torch sees no GPU"):
        fit(own_toy_bundle, TOY_LOG, device="cuda")


def test_other_devices_are_refused(own_toy_bundle: Path) -> None:
    with pytest.raises(InputError, match="device is 'tpu'; give 'cpu', 'cuda' or 'cuda:1'"):
        fit(own_toy_bundle, TOY_LOG, device="tpu")
