"""Devices by name: what is asked for is there, or there is an error."""

import pytest
import torch

from indexing.encoders.inference.torch_device import torch_device
from indexing.errors import DeviceError, InputError
from indexing.runtime.device import check_device, gpu_number


def see_gpus(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(("name", "number"), [("cuda", 0), ("cuda:0", 0), ("cuda:12", 12)])
def test_a_name_has_a_number(name: str, number: int) -> None:
    assert gpu_number(check_device(name)) == number


@pytest.mark.parametrize("name", ["gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cuda:0\n", "", "auto", None, 0, True])
def test_other_names_are_refused(name: object) -> None:
    with pytest.raises(InputError, match=r"device is .*; give 'cpu', 'cuda' or 'cuda:1'"):
        check_device(name)


def test_auto_is_a_name_where_it_may_be_one() -> None:
    assert check_device("auto", auto=True) == "auto"
    with pytest.raises(InputError, match=r"device is 'gpu'; give 'auto', 'cpu', 'cuda' or 'cuda:1'"):
        check_device("gpu", auto=True)


@pytest.mark.parametrize(
    ("gpus", "asked", "given"),
    [(0, "auto", "cpu"), (0, "cpu", "cpu"), (2, "auto", "cuda"), (2, "cuda", "cuda"), (2, "cuda:1", "cuda:1")],
)
def test_what_is_there_is_given(gpus: int, asked: str, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    see_gpus(gpus, monkeypatch)
    assert torch_device(asked) == given


@pytest.mark.parametrize(
    ("gpus", "asked", "seen"),
    [(0, "cuda", "no GPU"), (1, "cuda:1", "one GPU, 'cuda:0'"), (2, "cuda:2", "2 GPUs, 'cuda:0' to 'cuda:1'")],
)
def test_what_is_not_there_is_an_error(gpus: int, asked: str, seen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    see_gpus(gpus, monkeypatch)
    with pytest.raises(DeviceError, match=f"device='{asked}' was asked for, but torch sees {seen}") as caught:
        torch_device(asked)
    assert "give device='cpu'" in str(caught.value)
    assert "give --device cpu" in caught.value.for_terminal
