"""A second device for torch without a GPU: tensors that say they are on ``meta``, with their numbers on the CPU.

An operation on tensors of both devices is an error, as it is with a GPU, and so is the array of a tensor that was not
brought back. All else is computed as on the CPU, so that the results must be the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

DEVICE = torch.device("meta")


class There(torch.Tensor):
    """A tensor on the second device."""

    numbers: torch.Tensor

    @staticmethod
    def __new__(cls: "type[There]", inner: torch.Tensor) -> "There":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            dtype=inner.dtype,
            device=DEVICE,
            requires_grad=inner.requires_grad,
        )
        made.numbers = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]  # noqa: ANN401
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        return _run(func, args, kwargs or {})


class _Numbers(TorchFunctionMode):
    """Makes a tensor of numbers of Python on the CPU first: of one on ``meta`` torch would forget them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") == DEVICE:
            return func(*args, **kwargs | {"device": "cpu"}).to(DEVICE)
        return func(*args, **kwargs)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
    flat, _ = tree_flatten((args, kwargs))
    tensors = [part for part in flat if isinstance(part, torch.Tensor)]
    wrapped = [part for part in tensors if isinstance(part, There)]
    asked = kwargs.get("device")
    goes_there = asked is not None and torch.device(asked).type == "meta"
    copies = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
    here = [part for part in tensors if not isinstance(part, There) and part.dim()]
    if wrapped and here and not copies:
        raise RuntimeError(f"{func} has tensors on two devices: {[tuple(part.shape) for part in here]} are on the CPU")
    if goes_there:
        kwargs = kwargs | {"device": "cpu"}
    plain_args, plain_kwargs = tree_map(lambda part: part.numbers if isinstance(part, There) else part, (args, kwargs))
    out = func(*plain_args, **plain_kwargs)
    stays = bool(wrapped) and asked is None if func is not torch.ops.aten.copy_.default else isinstance(args[0], There)
    if not (goes_there or stays):
        return out
    leaves, spec = tree_flatten(out)
    leaves = [There(part) if isinstance(part, torch.Tensor) else part for part in leaves]
    return return_and_correct_aliasing(func, args, kwargs, tree_unflatten(leaves, spec))


@contextmanager
def second_device() -> Iterator[None]:
    """Make new tensors on it, as ``with torch.device("cuda")`` does."""
    with _Numbers(), _Mode(), torch.device(DEVICE):  # type: ignore[no-untyped-call]
        yield
