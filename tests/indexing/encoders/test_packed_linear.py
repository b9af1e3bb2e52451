"""Packed layers map as the layers they were made from, and where torch cannot pack, nothing changes."""

import pytest
import torch
from torch import nn

from indexing.encoders.inference.packed_linear import PackedLinear, packed


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(48, 80).requires_grad_(False)


@pytest.mark.parametrize("shape", [(48,), (1, 48), (2, 7, 48), (3, 130, 48)])
@torch.inference_mode()
def test_it_is_the_same_map(layer: nn.Linear, shape: tuple[int, ...]) -> None:
    rows = torch.randn(shape)
    expected = (rows.double() @ layer.weight.double().T + layer.bias.double()).float()
    mapped = packed(layer)(rows)
    assert mapped.shape == (*shape[:-1], 80)
    torch.testing.assert_close(mapped, expected, atol=1e-5, rtol=1e-5)  # sums of 48 terms in another order


def test_it_is_used_where_torch_has_it(layer: nn.Linear) -> None:
    assert isinstance(packed(layer), PackedLinear) == torch.backends.mkldnn.is_available()


def test_without_onednn_nothing_changes(layer: nn.Linear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert packed(layer) is layer


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, TypeError, NotImplementedError])
def test_another_torch_that_cannot_do_it_changes_nothing(
    layer: nn.Linear, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise error("not here")

    monkeypatch.setattr(PackedLinear, "forward", fails)
    assert packed(layer) is layer


def test_operations_that_compute_something_else_are_not_used(layer: nn.Linear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PackedLinear, "forward", lambda _, rows: torch.zeros(*rows.shape[:-1], 80))
    assert packed(layer) is layer
