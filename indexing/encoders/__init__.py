"""Encoders by name: ``pocket``, ``open_clip:…``, ``hf:…``, ``vectors:…``; nothing heavy is imported until asked for."""

import difflib
import importlib
from pathlib import Path

from indexing.encoders.base import Encoder, EncoderInfo
from indexing.errors import EncoderError

__all__ = ["Encoder", "EncoderInfo", "load_encoder"]

# Each module has `load(rest)`, given what follows the prefix.
MODULES = {
    "pocket": "indexing.encoders.pocket",
    "open_clip": "indexing.encoders.open_clip",
    "hf": "indexing.encoders.transformers",
    "vectors": "indexing.encoders.vectors",
}
KNOWN = (
    "pocket, open_clip:ARCH/TAG, open_clip:hf-hub:ORG/REPO, open_clip:local-dir:FOLDER, hf:ORG/REPO, hf:FOLDER, "
    "vectors:, vectors:DIM, vectors:DIM:NAME"
)


def load_encoder(spec: str, *, precision: str = "auto") -> Encoder:
    """Load an encoder by name.

    Args:
        spec: ``"pocket"``, which ships with the package; ``"open_clip:ARCH/TAG"`` (also ``open_clip:hf-hub:ORG/REPO``
            and ``open_clip:local-dir:FOLDER``); ``"hf:ORG/REPO"`` or ``"hf:FOLDER"`` for CLIP and SigLIP; or
            ``"vectors:"``, ``"vectors:DIM"`` or ``"vectors:DIM:NAME"`` for vectors that the catalogue brings.
        precision: ``"auto"`` measures which number format is fastest here and keeps the vectors (cosine of at least
            .999 to float32); or ``"float32"``, ``"bfloat16"``, ``"float16"``. The pocket encoder is always float32.

    Raises:
        EncoderError: For an unknown name, or a model that cannot be found or loaded.
    """
    prefix, _, rest = spec.partition(":")
    wanting = prefix in ("open_clip", "hf") and rest == ""
    if prefix not in MODULES or wanting or (prefix == "pocket" and rest):
        close = difflib.get_close_matches(prefix, MODULES, n=1)
        hint = f", did you mean {close[0]!r}?" if close and close[0] != prefix else ""
        raise EncoderError(f"there is no encoder {spec!r}{hint}; known are {KNOWN}")
    if repo := _named_repo(prefix, rest):
        # Importing a library takes seconds; a model that is not to be had should not cost them.
        importlib.import_module("indexing.encoders.hub").require_known(repo)
    encoder: Encoder = importlib.import_module(MODULES[prefix]).load(rest, precision)
    return encoder


def _named_repo(prefix: str, rest: str) -> str | None:
    """Give the hub repository that a name states outright; an open_clip architecture must be looked up first."""
    if prefix == "open_clip":
        return rest.removeprefix("hf-hub:") if rest.startswith("hf-hub:") else None
    return rest if prefix == "hf" and not Path(rest).is_dir() else None
