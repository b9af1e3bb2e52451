"""What all torch models share: the precision they compute in, the pixels they take, and a fingerprint of their weights.

The precision is one in which the vectors agree, and is never timed: a choice by the clock would be another one on a
busy machine, and with it the vectors of a bundle.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from indexing.arrays import Vectors
from indexing.encoders.inference.compute import EXACT
from indexing.encoders.inference.torch_device import torch_device
from indexing.errors import EncoderError
from indexing.media.image_form import Pixels
from indexing.runtime.device import AUTO

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# A model of fewer weights is fast in any precision, and keeps float32.
MIN_LARGE_WEIGHTS = 10_000_000
MIN_COSINE = 0.999
TENSOR_CORES, BFLOAT16_CORES = (7, 0), (8, 0)  # CUDA's compute capabilities from which on they are there

Probe = Callable[[torch.nn.Module], Vectors]


def in_precision(
    model: torch.nn.Module, precision: str, probe: Probe, device: str = AUTO
) -> tuple[torch.nn.Module, str]:
    """Return a float32 model, on a device and in a precision.

    With ``auto`` a model of at least 10 million weights takes the first of `low_precisions` whose vectors have a cosine
    of at least 0.999 with those of float32; without such, and for a smaller model, it is float32.

    All weights take the low precision: autocast, which converts them again at every call, gains nothing on a CPU.

    Args:
        model: In float32.
        precision: ``auto``, or one of `DTYPES`.
        probe: Embeds a few fixed inputs with a model: (N, D) float32, unit length.
        device: ``auto`` for a GPU if there is one, or the name of a device.

    Raises:
        EncoderError: For a precision that is not known.
        DeviceError: For a GPU that is not there.
    """
    place = torch.device(torch_device(device))
    if precision == "float16" and place.type == "cpu":
        precision = AUTO  # built on a GPU; half precision is slow without one, others stay within the golden vectors
    if precision != AUTO:
        if precision not in DTYPES:
            raise EncoderError(f"there is no precision {precision!r}; choose {AUTO} or one of {', '.join(DTYPES)}")
        return model.to(place, DTYPES[precision]), precision
    model = model.to(place)
    names = low_precisions(place)
    if not names or sum(weights.numel() for weights in model.parameters()) < MIN_LARGE_WEIGHTS:
        return model, EXACT
    exact = probe(model)
    for name in names:
        candidate = copy.deepcopy(model).to(DTYPES[name])
        if least_cosine(probe(candidate), exact) >= MIN_COSINE:
            return candidate, name
    return model, EXACT


def least_cosine(vectors: Vectors, exact: Vectors) -> float:
    """Return the least cosine of a line of (N, D) unit vectors with the same line of others; 0 where one is NaN."""
    return float(np.nan_to_num((vectors * exact).sum(axis=1)).min())


def low_precisions(device: torch.device) -> tuple[str, ...]:
    """Return what a device computes faster with than with float32, the more exact first.

    That is what there are units for: tensor cores on a GPU; AMX or AVX512_BF16 on a CPU. Without them a CPU converts
    each number, which is no faster and often slower.
    """
    if device.type == "cuda":
        cores = {"float16": TENSOR_CORES, "bfloat16": BFLOAT16_CORES}
        return tuple(name for name, minimum in cores.items() if torch.cuda.get_device_capability(device) >= minimum)
    units = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # torch has no public name for them before 2.12
    return ("bfloat16",) if any(getattr(torch.cpu, unit, bool)() for unit in units) else ()


def device_of(model: torch.nn.Module) -> torch.device:
    """Return the device that a model's weights are on, where its inputs must be too."""
    return next(model.parameters()).device


def normaliser(mean: Sequence[float], std: Sequence[float]) -> Callable[[Pixels], torch.Tensor]:
    """Return a function from (N, H, W, 3) uint8 to (N, 3, H, W) float32, as torchvision's ToTensor and Normalize do it.

    >>> import numpy as np
    >>> normaliser([0.5] * 3, [0.5] * 3)(np.full((1, 1, 1, 3), 255, np.uint8)).flatten().tolist()
    [1.0, 1.0, 1.0]
    """
    mean_, std_ = torch.tensor(mean).view(1, 3, 1, 1), torch.tensor(std).view(1, 3, 1, 1)

    def normalise(pixels: Pixels) -> torch.Tensor:
        channels_first = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
        return channels_first.float().div_(255).sub_(mean_).div_(std_)

    return normalise


# What a configuration says about files, library versions and training decides no vector.
VOLATILE = {"_name_or_path", "_commit_hash", "transformers_version", "architectures", "dtype", "torch_dtype"}


def state_fingerprint(model: torch.nn.Module, **settings: object) -> str:
    """Hash all weights and buffers in the order of their names, and settings as sorted JSON.

    It does not depend on where the files are, so a moved folder keeps its fingerprint.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def stable_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's configuration (activation, pooling, sizes) without what changes from one save to the next."""
    return {
        name: stable_config(value) if isinstance(value, Mapping) else value
        for name, value in config.items()
        if name not in VOLATILE
    }


def vocabulary(tokenizer: Any) -> object:  # noqa: ANN401
    """Return what a tokenizer knows: its tokens and, where it has them, its merges.

    How it treats a text before that shows in the tokens of a few texts, which belong in the fingerprint too.
    """
    inner = getattr(tokenizer, "tokenizer", tokenizer)  # open_clip wraps those of transformers
    if (backend := getattr(inner, "backend_tokenizer", None)) is not None:
        return json.loads(backend.to_str())["model"]
    if hasattr(inner, "get_vocab"):
        return inner.get_vocab()
    ranks = getattr(inner, "bpe_ranks", {})  # open_clip's own
    return [getattr(inner, "encoder", None), sorted(ranks, key=ranks.__getitem__)]
