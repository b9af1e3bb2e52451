"""Which number format a model runs in: what the processor computes with, as long as the vectors agree. Never timed.

A choice by the clock would be another one on a busy machine, and with it the vectors of a bundle.
"""

import copy
from collections.abc import Callable

import numpy as np
import torch

from indexing.arrays.types import Vectors
from indexing.errors import EncoderError

AUTO, EXACT = "auto", "float32"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# A model of fewer weights is fast in any precision, and keeps float32.
LARGE = 10_000_000
AT_LEAST = 0.999
TENSOR_CORES, BFLOAT16_CORES = (7, 0), (8, 0)  # CUDA's compute capabilities from which on they are there

Probe = Callable[[torch.nn.Module], Vectors]


def in_precision(model: torch.nn.Module, precision: str, probe: Probe) -> tuple[torch.nn.Module, str]:
    """Give a float32 model, on a GPU if there is one, in a precision.

    With ``auto`` a model of at least 10 million weights takes the first of `low_precisions` whose vectors have a cosine
    of at least 0.999 with those of float32; without such, and for a smaller model, it is float32.

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
    names = low_precisions()
    if not names or sum(weights.numel() for weights in model.parameters()) < LARGE:
        return model, EXACT
    exact = probe(model)
    for name in names:
        candidate = copy.deepcopy(model).to(DTYPES[name])
        if np.nan_to_num((probe(candidate) * exact).sum(axis=1)).min() >= AT_LEAST:
            return candidate, name
    return model, EXACT


def low_precisions() -> tuple[str, ...]:
    """Give what this machine computes faster with than with float32, the more exact first.

    That is what there are units for: tensor cores on a GPU; AMX or AVX512_BF16 on a CPU. Without them a CPU converts
    each number, which is no faster and often slower.
    """
    if torch.cuda.is_available():
        cores = {"float16": TENSOR_CORES, "bfloat16": BFLOAT16_CORES}
        return tuple(name for name, since in cores.items() if torch.cuda.get_device_capability() >= since)
    units = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # torch has no public name for them before 2.12
    return ("bfloat16",) if any(getattr(torch.cpu, unit, bool)() for unit in units) else ()


def best_device() -> torch.device:
    """Give the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(model: torch.nn.Module) -> torch.device:
    """Give the device that a model's weights are on, where its inputs must be too."""
    return next(model.parameters()).device
