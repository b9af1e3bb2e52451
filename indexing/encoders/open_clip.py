"""Any open_clip model, with exactly the vectors that open_clip gives."""

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image

from indexing.encoders.base import EncoderInfo
from indexing.encoders.batches import in_batches, to_rgb
from indexing.encoders.hub import hub_access
from indexing.encoders.weights import state_fingerprint
from indexing.errors import EncoderError
from indexing.types import Modality, Vectors

CONFIG = "open_clip_config.json"
SAFE_WEIGHTS, WEIGHTS = "open_clip_model.safetensors", "open_clip_pytorch_model.bin"


class OpenClipEncoder:
    """An open_clip model behind the `Encoder` protocol.

    Args:
        name: The spec it was loaded by.
        model: The model.
        preprocess: Turns a PIL image into a (3, H, W) tensor.
        tokenize: Turns texts into (B, L) int64 token ids, truncated to the context length.
    """

    def __init__(self, name: str, model: Any, preprocess: Callable[[Image.Image], Any], tokenize: Any) -> None:  # noqa: ANN401
        self._model = model.eval().requires_grad_(False)
        self._preprocess, self._tokenize = preprocess, tokenize
        with torch.inference_mode():
            dim = self._model.encode_text(tokenize(["a"])).shape[1]
        tokens = tokenize(["A red mug, ☂ 12"]).tolist()
        steps = re.sub(r" at 0x[0-9a-f]+", "", str(preprocess))  # functions print with their address
        fingerprint = state_fingerprint(model, preprocess=steps, tokens=tokens, library="open_clip")
        self.info = EncoderInfo(name, int(dim), (Modality.TEXT, Modality.IMAGE), fingerprint)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed N texts, cut to the context length: (N, D) float32, unit length."""
        return in_batches(texts, self._texts, self.info.dim)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Embed N pictures: (N, D) float32, unit length."""
        return in_batches(images, self._images, self.info.dim)

    @torch.inference_mode()
    def _texts(self, texts: Sequence[str]) -> Vectors:
        vectors: Vectors = self._model.encode_text(self._tokenize(list(texts))).float().numpy()
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
    arch, tag = (rest, None) if rest.startswith(("hf-hub:", "local-dir:")) else _architecture_and_tag(rest)
    with _access(arch, tag):
        try:
            model, _, preprocess = open_clip.create_model_and_transforms(arch, pretrained=tag)
            tokenizer = open_clip.get_tokenizer(arch)
        except Exception as error:  # open_clip raises RuntimeError, ValueError, KeyError, OSError, …
            raise EncoderError(f"open_clip cannot load {rest!r}: {error}") from error
    return OpenClipEncoder(f"open_clip:{rest}", model, preprocess, tokenizer)


def _architecture_and_tag(rest: str) -> tuple[str, str]:
    arch, _, tag = rest.rpartition("/")
    if open_clip.get_pretrained_cfg(arch, tag):
        return arch, tag
    known = ["/".join(pair) for pair in open_clip.list_pretrained()]
    close = difflib.get_close_matches(rest, known, n=3) or known[:3]
    raise EncoderError(
        f"open_clip has no pretrained model {rest!r}; near it are {', '.join(close)}. "
        "A folder is named by open_clip:local-dir:FOLDER"
    )


@contextmanager
def _access(arch: str, tag: str | None) -> Iterator[None]:
    if arch.startswith("local-dir:"):
        folder = Path(arch.removeprefix("local-dir:"))
        if not (folder / CONFIG).is_file():
            raise EncoderError(f"{folder} is no open_clip model: it has no {CONFIG}")
        if not (folder / SAFE_WEIGHTS).is_file():
            found = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth"))
            raise EncoderError(
                f"{folder} has no {SAFE_WEIGHTS}"
                + (f", only {found[0]}, a pickle that could run code: convert it to safetensors" if found else "")
            )
        yield
        return
    repo = arch.removeprefix("hf-hub:") if tag is None else open_clip.get_pretrained_cfg(arch, tag)["hf_hub"]
    repo = "/".join(repo.strip("/").split("/")[:2])
    with hub_access(repo, CONFIG, (SAFE_WEIGHTS, WEIGHTS)):
        yield
