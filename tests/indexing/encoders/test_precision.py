"""Which precision ``auto`` takes: what the processor has units for and the vectors agree in, however long it takes."""

import time

import numpy as np
import pytest
import torch

from indexing.arrays import Vectors
from indexing.encoders.inference import torch_models as precision
from indexing.encoders.inference.torch_models import in_precision, low_precisions

ROWS = np.eye(3, 8, dtype=np.float32)


class Model(torch.nn.Module):
    """Turns its inputs by a fixed matrix; ``off`` is added to what is embedded in low precision."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = torch.nn.Parameter(torch.linalg.qr(torch.randn(8, 8, generator=torch.manual_seed(0)))[0])


def embed(model: torch.nn.Module, off: float = 0.0, slow: tuple[torch.dtype, ...] = ()) -> Vectors:
    matrix = model.matrix
    assert isinstance(matrix, torch.nn.Parameter)
    if matrix.dtype in slow:
        time.sleep(0.1)
    found = (torch.from_numpy(ROWS).to(matrix.dtype) @ matrix).float().detach().numpy()
    if matrix.dtype != torch.float32:
        found = found + np.float32(off)
    vectors: Vectors = found / np.linalg.norm(found, axis=1, keepdims=True)
    return vectors


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU with units for bfloat16, where the model of these tests counts as large."""
    monkeypatch.setattr(precision, "MIN_LARGE_WEIGHTS", 64)
    monkeypatch.setattr(precision, "low_precisions", lambda _: ("bfloat16",))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize("slow", [(), (torch.float32,), (torch.bfloat16,), (torch.float32, torch.bfloat16)])
@pytest.mark.usefixtures("large")
def test_how_long_it_takes_decides_nothing(slow: tuple[torch.dtype, ...]) -> None:
    model, name = in_precision(Model(), "auto", lambda one: embed(one, slow=slow))
    assert (name, next(model.parameters()).dtype) == ("bfloat16", torch.bfloat16)


@pytest.mark.parametrize(("off", "taken"), [(0.005, "bfloat16"), (0.3, "float32"), (float("nan"), "float32")])
@pytest.mark.usefixtures("large")
def test_vectors_that_do_not_agree_keep_float32(off: float, taken: str) -> None:
    model, name = in_precision(Model(), "auto", lambda one: embed(one, off))
    assert (name, next(model.parameters()).dtype) == (taken, getattr(torch, taken))


@pytest.mark.usefixtures("large")
def test_a_small_model_keeps_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "MIN_LARGE_WEIGHTS", 65)
    assert in_precision(Model(), "auto", embed)[1] == "float32"


@pytest.mark.usefixtures("large")
def test_a_bundle_from_a_gpu_opens_without_one() -> None:
    assert in_precision(Model(), "float16", embed)[1] == "bfloat16"
    assert in_precision(Model(), "bfloat16", embed)[1] == "bfloat16"  # asked for: by the bundle that was built in it


@pytest.mark.parametrize(
    ("amx", "avx512", "expected"),
    [(True, True, ("bfloat16",)), (False, True, ("bfloat16",)), (True, False, ("bfloat16",)), (False, False, ())],
)
def test_a_cpu_is_asked_for_its_units(
    amx: bool, avx512: bool, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    assert low_precisions(torch.device("cpu")) == expected


@pytest.mark.parametrize(
    ("capability", "expected"), [((9, 0), ("float16", "bfloat16")), ((7, 5), ("float16",)), ((6, 1), ())]
)
def test_a_gpu_is_asked_for_its_capability(
    capability: tuple[int, int], expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability if device.index else (0, 0))
    assert low_precisions(torch.device("cuda:1")) == expected
