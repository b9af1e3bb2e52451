"""The fingerprint of a loaded model: every weight, and whatever else decides its vectors."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch

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


def lasting(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give a model's configuration (activation, pooling, sizes) without what changes from one save to the next."""
    return {
        name: lasting(value) if isinstance(value, Mapping) else value
        for name, value in config.items()
        if name not in VOLATILE
    }


def vocabulary(tokenizer: Any) -> object:  # noqa: ANN401
    """Give what a tokenizer knows: its tokens and, where it has them, its merges.

    How it treats a text before that shows in the tokens of a few texts, which belong in the fingerprint too.
    """
    inner = getattr(tokenizer, "tokenizer", tokenizer)  # open_clip wraps those of transformers
    if (backend := getattr(inner, "backend_tokenizer", None)) is not None:
        return json.loads(backend.to_str())["model"]
    if hasattr(inner, "get_vocab"):
        return inner.get_vocab()
    ranks = getattr(inner, "bpe_ranks", {})  # open_clip's own
    return [getattr(inner, "encoder", None), sorted(ranks, key=ranks.__getitem__)]
