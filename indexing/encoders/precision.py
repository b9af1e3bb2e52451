"""Which number format a model runs in: measured on this machine at load, never at the price of its vectors."""

import copy
from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch

from indexing.errors import EncoderError
from indexing.types import Vectors

AUTO, EXACT = "auto", "float32"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# A lower precision must be worth its rounding.
WORTH = 1.15
# A model this fast (seconds for the probe) gains nothing that could be noticed.
FAST_ENOUGH = 0.05
AT_LEAST = 0.999

Probe = Callable[[torch.nn.Module], Vectors]


def in_precision(model: torch.nn.Module, precision: str, probe: Probe) -> tuple[torch.nn.Module, str]:
    """Give a float32 model, on a GPU if there is one, in the precision asked for or the fastest that keeps its vectors.

    All weights take the low precision: autocast, which converts them again at every call, gains nothing on a CPU.

    Args:
        model: In float32.
        precision: ``auto``, or one of `DTYPES`.
        probe: Embeds a few fixed inputs with a model: (N, D) float32, unit length.

    Raises:
        EncoderError: For a precision that is not known.
    """
    if precision == "float16" and not torch.cuda.is_available():
        precision = AUTO  # built on a GPU; half precision is slow without one, others stay within the golden vectors
    if precision != AUTO:
        if precision not in DTYPES:
            raise EncoderError(f"there is no precision {precision!r}; choose {AUTO} or one of {', '.join(DTYPES)}")
        return model.to(best_device(), DTYPES[precision]), precision
    model = model.to(best_device())
    exact, slow = _timed(model, probe)
    if slow < FAST_ENOUGH:
        return model, EXACT
    best = model, EXACT, slow / WORTH
    for name in ("float16", "bfloat16") if torch.cuda.is_available() else ("bfloat16",):
        candidate = copy.deepcopy(model).to(DTYPES[name])
        vectors, seconds = _timed(candidate, probe)
        if seconds < best[2] and np.nan_to_num((vectors * exact).sum(axis=1)).min() >= AT_LEAST:
            best = candidate, name, seconds
    return best[0], best[1]


def best_device() -> torch.device:
    """Give the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(model: torch.nn.Module) -> torch.device:
    """Give the device that a model's weights are on, where its inputs must be too."""
    return next(model.parameters()).device


def _timed(model: torch.nn.Module, probe: Probe) -> tuple[Vectors, float]:
    probe(model)
    times = []
    for _ in range(2):
        started = perf_counter()
        vectors = probe(model)
        times.append(perf_counter() - started)
    return vectors, min(times)
