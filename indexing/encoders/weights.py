"""The fingerprint of a loaded model: every weight, and whatever else decides its vectors."""

import hashlib
import json

import torch


def state_fingerprint(model: torch.nn.Module, **settings: object) -> str:
    """Hash all weights and buffers in the order of their names, and settings as sorted JSON.

    It does not depend on where the files are, so a moved folder keeps its fingerprint.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
