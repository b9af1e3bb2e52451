"""Encoders by name, ``pocket`` or ``open_clip:…`` and so on. Nothing heavy is imported until one is loaded."""

import difflib
import importlib
from pathlib import Path

from indexing.encoders.base import AudioEncoder, Encoder, EncoderInfo
from indexing.encoders.inference.compute import Compute
from indexing.errors import EncoderError, UnknownEncoderError
from indexing.runtime.arguments import check_kind
from indexing.runtime.threads import require_own_threads

__all__ = ["AudioEncoder", "Encoder", "EncoderInfo", "load_encoder"]

# Each module has `load(rest, compute)`, given what follows the prefix, and how to compute.
MODULES = {
    "pocket": "indexing.encoders.pocket",
    "open_clip": "indexing.encoders.open_clip",
    "hf": "indexing.encoders.transformers",
    "clap": "indexing.encoders.clap",
    "st": "indexing.encoders.sentence_transformers",
    "vectors": "indexing.encoders.precomputed",
}
NAMED_BY_REPO = ("hf", "clap", "st")
KNOWN = (
    "pocket, open_clip:ARCH/TAG, open_clip:hf-hub:ORG/REPO, open_clip:local-dir:FOLDER, hf:ORG/REPO, hf:FOLDER, "
    "clap:ORG/REPO, clap:FOLDER, st:ORG/REPO, st:FOLDER, MAIN+clap:…, vectors:, vectors:DIM, vectors:DIM:NAME, "
    "vectors:separate, vectors:separate:MOST, vectors:separate:MOST:NAME"
)
AND_CLAP = "+clap:"


def load_encoder(
    spec: str,
    *,
    precision: str = "auto",
    device: str = "auto",
    compile: bool = False,
    bridge: bytes | None = None,
) -> Encoder:
    """Load an encoder by name.

    Args:
        spec: ``"pocket"``, which ships with the package; ``"open_clip:ARCH/TAG"`` (also ``open_clip:hf-hub:ORG/REPO``
            and ``open_clip:local-dir:FOLDER``); ``"hf:ORG/REPO"`` or ``"hf:FOLDER"`` for CLIP, Chinese CLIP, SigLIP
            and ALIGN; ``"clap:…"`` likewise for CLAP, texts and sounds; ``"st:…"`` for sentence-transformers;
            ``"vectors:"``, ``"vectors:DIM"`` or ``"vectors:DIM:NAME"`` for vectors that the catalogue brings, and
            ``"vectors:separate"``, ``"vectors:separate:MOST"`` or ``"vectors:separate:MOST:NAME"`` where each modality
            is a space of its own, of which at most MOST numbers are kept.
            ``"MAIN+clap:…"`` is any of the others that hears through CLAP.
        precision: ``"auto"`` takes the lower number format that the processor has units for, if the vectors agree
            with those of float32 (cosine of at least 0.999), and float32 else; it measures no time. Or ``"float32"``,
            ``"bfloat16"``, ``"float16"``. Only open_clip and transformers have a choice.
        device: ``"auto"`` for a GPU if torch sees one, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``. The pocket encoder always
            computes on the CPU.
        compile: Let ``torch.compile`` compile the towers of open_clip or transformers, which takes minutes at the first
            batches. Batches then have few shapes, and smaller ones are filled up. The golden inputs are embedded with
            and without it, and must agree.
        bridge: For ``MAIN+clap:…``: what `Bridge.to_bytes` gave. Without it a bridge is fitted on the texts of the
            shipped sample, which takes a minute; `bridge_audio` fits one on texts of your own. For
            ``vectors:separate…``: what `Spaces.to_bytes` gave; without it the maps are learned at build.

    Raises:
        UnknownEncoderError: For an unknown name.
        EncoderError: For a model that cannot be found or loaded.
        DeviceError: For a GPU that was asked for and is not there.
        ForkedProcessError: In a process that was forked after its parent had encoded or searched.
        DamagedFileError: When the bridge is none.
    """
    check_kind(spec, str, "the name of the encoder", "give one as text, as 'pocket'")
    compute = Compute(precision, device, compile)
    if bridge is not None:
        check_kind(bridge, bytes, "bridge", "give what Bridge.to_bytes or Spaces.to_bytes gave, or None")
    require_own_threads()
    if AND_CLAP in spec:
        return _load_bridged(spec, compute, bridge)
    if bridge is not None:
        if not EncoderInfo(spec, 0, (), "").separate:
            raise EncoderError(f"encoder {spec!r} takes no bridge; one that does is named MAIN+clap:NAME")
        separate: Encoder = importlib.import_module(MODULES["vectors"]).load(spec.partition(":")[2], compute, bridge)
        return separate
    prefix, _, rest = spec.partition(":")
    lacks_model = prefix in ("open_clip", "hf") and rest == ""
    if prefix not in MODULES or lacks_model or (prefix == "pocket" and rest):
        close = difflib.get_close_matches(prefix, MODULES, n=1)
        hint = f", did you mean {close[0]!r}?" if close and close[0] != prefix else ""
        raise UnknownEncoderError(f"there is no encoder {spec!r}{hint}; known are {KNOWN}")
    if repo := _named_repo(prefix, rest):
        # Importing a library takes seconds; a model that is not to be had should not cost them.
        importlib.import_module("indexing.encoders.inference.hub").require_known(repo)
    encoder: Encoder = importlib.import_module(MODULES[prefix]).load(rest, compute)
    return encoder


def _load_bridged(spec: str, compute: Compute, bridge: bytes | None) -> Encoder:
    main_name, _, clap_name = spec.partition(AND_CLAP)
    main = load_encoder(main_name, precision=compute.precision, device=compute.device, compile=compute.compile)
    audio = load_encoder(f"clap:{clap_name}", device=compute.device)
    from indexing.encoders.alignment.bridge import Bridge, BridgedEncoder, bridge_audio, default_bridge_texts

    if bridge is not None:
        return BridgedEncoder(main, audio, Bridge.from_bytes(bridge))
    return bridge_audio(main, audio, default_bridge_texts())


def _named_repo(prefix: str, rest: str) -> str | None:
    """Return the hub repository that a name states outright; an open_clip architecture must be looked up first."""
    if prefix == "open_clip":
        return rest.removeprefix("hf-hub:") if rest.startswith("hf-hub:") else None
    return rest if prefix in NAMED_BY_REPO and not Path(rest).is_dir() else None
