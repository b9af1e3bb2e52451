"""Any open_clip model, with exactly the vectors that open_clip gives."""

import difflib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image

from indexing.encoders.base import EncoderInfo
from indexing.encoders.batches import in_batches, to_rgb, well_formed
from indexing.encoders.golden import TEXTS
from indexing.encoders.hub import load_from_hub, one_line
from indexing.encoders.weights import lasting, state_fingerprint, vocabulary
from indexing.errors import EncoderError
from indexing.types import Modality, Vectors

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


class OpenClipEncoder:
    """An open_clip model behind the `Encoder` protocol.

    Args:
        name: The spec it was loaded by.
        model: The model.
        preprocess: Turns a PIL image into a (3, H, W) tensor.
        tokenize: Turns texts into (B, L) int64 token ids, truncated to the context length.
        config: The model's configuration: what its weights do not say.
    """

    def __init__(self, name: str, model: Any, preprocess: Any, tokenize: Any, config: dict[str, Any]) -> None:  # noqa: ANN401
        self._model = model.eval().requires_grad_(False)
        self._preprocess, self._tokenize = preprocess, tokenize
        fingerprint = state_fingerprint(
            model,
            config=lasting(config),
            preprocess=open_clip.get_model_preprocess_cfg(model),
            vocabulary=vocabulary(tokenize),
            tokens=tokenize(list(TEXTS)).tolist(),
            library="open_clip",
        )
        dim = self._texts(["a"]).shape[1]
        self.info = EncoderInfo(name, int(dim), (Modality.TEXT, Modality.IMAGE), fingerprint)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed N texts, cut to the context length: (N, D) float32, unit length."""
        return in_batches(texts, self._texts, self.info.dim)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Embed N pictures: (N, D) float32, unit length."""
        return in_batches(images, self._images, self.info.dim)

    @torch.inference_mode()
    def _texts(self, texts: Sequence[str]) -> Vectors:
        tokens = self._tokenize([well_formed(text) for text in texts])
        vectors: Vectors = self._model.encode_text(tokens).float().numpy()
        return vectors

    @torch.inference_mode()
    def _images(self, images: Sequence[Image.Image]) -> Vectors:
        pixels = torch.stack([self._preprocess(to_rgb(image)) for image in images])
        vectors: Vectors = self._model.encode_image(pixels).float().numpy()
        return vectors


def load(rest: str) -> OpenClipEncoder:
    """Load ``ARCH/TAG``, ``hf-hub:ORG/REPO`` or ``local-dir:FOLDER``.

    Raises:
        EncoderError: When there is no such model, it cannot be reached, or its weights are no safetensors.
    """
    name = f"open_clip:{rest}"
    try:
        if rest.startswith("local-dir:"):
            _check_folder(Path(rest.removeprefix("local-dir:")))
            return _create(name, rest)
        if rest.startswith("hf-hub:"):
            return load_from_hub(rest.removeprefix("hf-hub:"), lambda _: _create(name, rest))
        arch, tag = _architecture_and_tag(rest)
        repo = "/".join(open_clip.get_pretrained_cfg(arch, tag)["hf_hub"].split("/")[:2])  # a file name may follow
        return load_from_hub(repo, lambda _: _create(name, arch, tag))
    except EncoderError:
        raise
    except Exception as error:  # open_clip raises RuntimeError, ValueError, KeyError, OSError, …
        raise EncoderError(f"open_clip cannot load {rest!r}: {one_line(error)}") from error


def _create(name: str, arch: str, tag: str | None = None) -> OpenClipEncoder:
    with _quiet():
        # This one, unlike `create_model_and_transforms`, fails where there are no weights instead of making some up.
        model, preprocess = open_clip.create_model_from_pretrained(arch, pretrained=tag, weights_only=True)
        tokenizer, config = open_clip.get_tokenizer(arch), open_clip.get_model_config(arch)
    return OpenClipEncoder(name, model, preprocess, tokenizer, config)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip's messages for programs that log: without a handler it would install one that prints."""
    silent = logging.NullHandler()
    logging.root.addHandler(silent)
    try:
        yield
    finally:
        logging.root.removeHandler(silent)


def _architecture_and_tag(rest: str) -> tuple[str, str]:
    arch, _, tag = rest.rpartition("/")
    trained = open_clip.get_pretrained_cfg(arch, tag)
    known = ["/".join(pair) for pair in open_clip.list_pretrained()]
    if not trained:
        close = difflib.get_close_matches(rest, known, n=3) or known[:3]
        raise EncoderError(
            f"open_clip has no pretrained model {rest!r}; near it are {', '.join(close)}. "
            "A folder is named by open_clip:local-dir:FOLDER"
        )
    # open_clip only warns of it and then gives the vectors of a network that nobody trained.
    right = f"{arch}-quickgelu/{tag}"
    if trained.get("quick_gelu") and not open_clip.get_model_config(arch).get("quick_gelu") and right in known:
        raise EncoderError(f"{rest!r} was trained with another activation than {arch} has: load 'open_clip:{right}'")
    return arch, tag


def _check_folder(folder: Path) -> None:
    if not (folder / CONFIG).is_file():
        raise EncoderError(f"{folder} is no open_clip model: it has no {CONFIG}")
    if not (folder / WEIGHTS).is_file():
        found = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth"))
        raise EncoderError(
            f"{folder} has no {WEIGHTS}"
            + (f", only {found[0]}, a pickle that could run code: convert it to safetensors" if found else "")
        )
