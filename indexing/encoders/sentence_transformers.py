"""Any sentence-transformers model for texts, or for texts and pictures, with exactly the vectors that it gives.

Left to itself the library takes a text that looks like the address or path of a picture for that picture, and opens it.
Here every text goes in as ``{"text": …}``, which it believes. Needs the extra ``st``.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import snapshot_download
from PIL import Image

from indexing.arrays import Vectors
from indexing.encoders.base import TEXTS, EncoderInfo, golden_vectors, require
from indexing.encoders.inference.batching import checked_images, checked_texts, in_batches, well_formed
from indexing.encoders.inference.checkpoints import check_settings, load_checkpoint, quiet
from indexing.encoders.inference.compute import Compute
from indexing.encoders.inference.hub import one_line
from indexing.encoders.inference.torch_device import torch_device
from indexing.encoders.inference.torch_models import stable_config, state_fingerprint, vocabulary
from indexing.errors import EncoderError, import_extra
from indexing.media.files import Modality
from indexing.media.images import to_rgb

# What a model is made of: no pickles, no code, no copies for other runtimes.
FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
OTHER_RUNTIMES = ("onnx/*", "openvino/*")
LISTING = "modules.json"
ROUTERS = ("router_config.json", "config.json", "sentence_*_config.json")  # modules within modules, and settings
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# Pickles that the library or transformers would read, by how their names begin, and what is read instead where it is.
SAFE_REPLACEMENTS = {"pytorch_model": "model", "adapter_model": "adapter_model"}


class SentenceTransformersEncoder:
    """A model of sentence-transformers behind the `Encoder` protocol.

    Texts get the prompt that the model names as its default, and none if it names none: those for queries alone or
    documents alone are never used.

    Args:
        name: The spec it was loaded by.
        model: The model, on the CPU.
    """

    def __init__(self, name: str, model: Any) -> None:  # noqa: ANN401
        self._model = model.eval().requires_grad_(False)
        transformer_class = import_extra("sentence_transformers.base.modules", "st").Transformer
        # Other kinds of first modules know texts only, and take strings.
        self._takes_dicts = isinstance(model[0], transformer_class)
        if not self._takes_dicts and list(model.modalities) != ["text"]:
            raise EncoderError(f"{name} chooses among several models by input: load one of them by itself")
        order = (Modality.TEXT, Modality.IMAGE)
        modalities = tuple(modality for modality in order if str(modality) in model.modalities)
        if Modality.TEXT not in modalities:
            raise EncoderError(f"{name} embeds no texts, only {', '.join(map(str, model.modalities))}")
        dim = self._texts(["a"]).shape[1]
        self.info = EncoderInfo(name, int(dim), modalities, _fingerprint(model))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed N texts, cut to the model's longest: (N, D) float32, unit length."""
        return in_batches(texts, self._texts, self.info.dim)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Embed N pictures: (N, D) float32, unit length.

        Raises:
            EncoderError: When the model embeds texts only.
        """
        require(self, Modality.IMAGE)
        return in_batches(checked_images(images), self._images, self.info.dim)

    def _texts(self, texts: Sequence[str]) -> Vectors:
        cleaned = [well_formed(text) for text in checked_texts(texts)]
        return self._encode([{"text": text} for text in cleaned] if self._takes_dicts else cleaned)

    def _images(self, images: Sequence[Image.Image]) -> Vectors:
        return self._encode([to_rgb(image) for image in images])

    def _encode(self, contents: list[Any]) -> Vectors:
        vectors: Vectors = self._model.encode(contents, batch_size=len(contents), show_progress_bar=False)
        return vectors


def _fingerprint(model: Any) -> str:  # noqa: ANN401
    processor, config = model.processor, getattr(model, "config", None)
    images = getattr(processor, "image_processor", None)
    tokenizer = model.tokenizer
    return state_fingerprint(
        model,
        modules=[(type(module).__name__, module.get_config_dict()) for module in model],
        config=stable_config(config.to_dict()) if config is not None else None,
        preprocess=images.to_json_string() if images is not None else None,
        vocabulary=vocabulary(tokenizer) if hasattr(tokenizer, "get_vocab") else None,
        tokens=tokenizer(list(TEXTS), truncation=True)["input_ids"] if callable(tokenizer) else None,
        length=model.max_seq_length,
        prompts=[model.prompts, model.default_prompt_name],
        truncate=model.truncate_dim,
        library="sentence-transformers",
    )


def load(rest: str, compute: Compute) -> SentenceTransformersEncoder:
    """Load ``ORG/REPO`` or a local folder, in float32.

    Raises:
        MissingExtraError: When sentence-transformers is not installed.
        EncoderError: When there is no such model, it cannot be reached, has parts that are pickles or code, or is not
            complete.
        DeviceError: For a GPU that is not there.
    """
    name = f"st:{rest}"
    compute.refuse_compile(name)
    import_extra("sentence_transformers", "st")
    device = torch_device(compute.device)
    return load_checkpoint(name, rest, lambda offline: _create(name, rest, device, offline=offline))


def _create(name: str, rest: str, device: str, *, offline: bool) -> SentenceTransformersEncoder:
    folder = Path(rest) if Path(rest).is_dir() else _snapshot(rest, offline=offline)
    check_parts(name, folder, _module_list(name, folder))
    first, second = (_load_model(name, folder, seed, device) for seed in (0, 1))
    # Weights that its files lack are made up at random, silently; not all of them matter, as a text's unused pooler.
    if not np.allclose(golden_vectors(first), golden_vectors(second), atol=1e-4):
        raise EncoderError(f"{name} gives other vectors at each load: its files lack weights or are not of one model")
    return first


def _snapshot(repo: str, *, offline: bool) -> Path:
    """Return the cached folder of a hub's model, fetching what it lacks when the hub may be asked."""
    patterns, ignored = list(FILES), list(OTHER_RUNTIMES)
    folder = snapshot_download(repo, local_files_only=offline, allow_patterns=patterns, ignore_patterns=ignored)
    if offline and not (Path(folder) / LISTING).is_file():
        raise FileNotFoundError(f"{LISTING} is not in the cache")  # no verdict on the model: the hub may have it
    return Path(folder)


def _load_model(name: str, folder: Path, seed: int, device: str) -> SentenceTransformersEncoder:
    library = import_extra("sentence_transformers", "st")
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = library.SentenceTransformer(
            str(folder),
            device=device,
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )
    return SentenceTransformersEncoder(name, model)


def _module_list(name: str, folder: Path) -> list[dict[str, Any]]:
    listed = folder / LISTING
    if not listed.is_file():
        raise EncoderError(f"{name} is no sentence-transformers model: it has no {LISTING}")
    modules: list[dict[str, Any]] = json.loads(listed.read_bytes())
    return modules


def check_parts(name: str, folder: Path, modules: Sequence[dict[str, Any]]) -> None:
    """Check what a model is made of, before anything of it is loaded.

    Args:
        name: The whole spec, for messages.
        folder: Where the model is.
        modules: What its list of modules says; modules may have modules of their own, in folders below theirs.

    Raises:
        EncoderError: When a part is code of its own or a pickle, or is not in the folder.
    """
    try:
        for module in modules:
            _check_type(name, module["type"])
            if not (folder / module["path"]).resolve().is_relative_to(folder.resolve()):
                raise EncoderError(f"{name} names a part outside its folder, {module['path']!r}")
        for listing in (path for pattern in ROUTERS for path in folder.rglob(pattern)):
            settings = json.loads(listing.read_bytes())
            check_settings(name, settings)
            for kind in settings.get("types", {}).values():
                _check_type(name, kind)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise EncoderError(f"{name} has a list of modules that cannot be read ({one_line(error)})") from error
    for subfolder in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        _check_weights(name, subfolder, subfolder.relative_to(folder).as_posix())


def _check_type(name: str, kind: str) -> None:
    """Check that a module is a class of the library, not something that the library has imported."""
    if not re.fullmatch(r"sentence_transformers(\.[a-z0-9_]+)*(\.[A-Z]\w*)+", kind):
        raise EncoderError(f"{name} needs code of its own, {kind!r}, which is never run")


def _check_weights(name: str, subfolder: Path, part: str) -> None:
    """Check one folder: beside each pickle that the library would read lies what it reads instead."""
    files = {path.name for path in subfolder.iterdir()}
    safe = any(file.endswith(".safetensors") for file in files)
    for pickle in sorted(file for file in files if file.endswith(PICKLES)):
        stem_read = next((stem for begin, stem in SAFE_REPLACEMENTS.items() if pickle.startswith(begin)), None)
        if stem_read is not None and not files & {f"{stem_read}.safetensors", f"{stem_read}.safetensors.index.json"}:
            safe = False
        if not safe:
            raise EncoderError(
                f"{name} has no {stem_read or 'model'}.safetensors in {part!r}, only {pickle}, a pickle that could run "
                "code: convert it to safetensors"
            )
