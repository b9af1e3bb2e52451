"""Any open_clip model, with exactly the vectors that open_clip gives."""

import difflib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from PIL import Image
from torch import nn

from indexing.arrays import Vectors, unit
from indexing.encoders.base import TEXTS, EncoderInfo, golden_images
from indexing.encoders.inference.batching import (
    by_length,
    checked_images,
    checked_texts,
    in_batches,
    pixels_in_batches,
    well_formed,
)
from indexing.encoders.inference.checkpoints import check_settings, no_remote_code
from indexing.encoders.inference.compute import Compute
from indexing.encoders.inference.features import Batches, Features, TwoTowers
from indexing.encoders.inference.hub import load_from_hub, one_line
from indexing.encoders.inference.torch_device import torch_device
from indexing.encoders.inference.torch_models import (
    in_precision,
    normaliser,
    stable_config,
    state_fingerprint,
    vocabulary,
)
from indexing.errors import EncoderError
from indexing.media.files import Modality
from indexing.media.image_form import ImageForm, Pixels
from indexing.media.images import to_rgb


class SelfAttention(nn.Module):
    """Does what a `torch.nn.MultiheadAttention` does when query, key and value are the same.

    Args:
        original: Its weights are shared, not copied.
    """

    def __init__(self, original: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads = original.num_heads
        self.in_proj_weight, self.in_proj_bias = original.in_proj_weight, original.in_proj_bias
        self.out_proj = original.out_proj
        self.batch_first = True  # asked for by the transformer around it

    def forward(
        self,
        x: torch.Tensor,
        _key: torch.Tensor,
        _value: torch.Tensor,
        *,
        need_weights: bool = False,  # noqa: ARG002 - the signature of what this replaces
        attn_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, None]:
        """Map (B, L, D) to (B, L, D)."""
        batch, length, width = x.shape
        packed = F.linear(x, self.in_proj_weight, self.in_proj_bias).view(batch, length, 3, self.heads, -1)
        query, key, value = packed.permute(2, 0, 3, 1, 4)
        mask = attn_mask.to(x.dtype) if attn_mask is not None and attn_mask.is_floating_point() else attn_mask
        if mask is not None and mask.dim() == 3:  # one for each head of each text
            mask = mask.view(batch, self.heads, length, length)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out_proj(attended.transpose(1, 2).reshape(batch, length, width)), None


def with_fast_attention(model: nn.Module) -> nn.Module:
    """Replace the attention of open_clip's own residual blocks, in place; other towers are left as they are."""
    for block in model.modules():
        if not isinstance(block, ResidualAttentionBlock) or hasattr(block, "ln_1_kv"):
            continue  # with `ln_1_kv` it attends to something else than itself
        if type(block.attn) is nn.MultiheadAttention:
            attention = block.attn
            if attention.batch_first and attention.in_proj_weight is not None and attention.bias_k is None:
                block.attn = SelfAttention(attention)
    return model


IMAGE_BATCH = 32
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


class OpenClipEncoder(TwoTowers):
    """An open_clip model behind the `Encoder` protocol.

    Args:
        name: The spec it was loaded by.
        model: The model, in float32.
        preprocess: Turns a PIL image into a (3, H, W) tensor.
        tokenize: Turns texts into (B, L) int64 token ids, truncated to the context length.
        config: The model's configuration: what its weights do not say.
        compute: Number format, device, and whether to compile.
    """

    def __init__(
        self,
        name: str,
        model: Any,  # noqa: ANN401
        preprocess: Any,  # noqa: ANN401
        tokenize: Any,  # noqa: ANN401
        config: dict[str, Any],
        compute: Compute,
    ) -> None:
        self._model: Any = model.eval().requires_grad_(False)
        self._preprocess, self._tokenize = preprocess, tokenize
        settings = open_clip.get_model_preprocess_cfg(model)
        fingerprint = state_fingerprint(
            model,
            config=stable_config(config),
            preprocess=settings,
            vocabulary=vocabulary(tokenize),
            tokens=tokenize(list(TEXTS)).tolist(),
            library="open_clip",
        )
        self.image_form, self._normalise = _form(settings), normaliser(settings["mean"], settings["std"])
        # Where each token sees only those before it, what follows a text's end cannot change its vector.
        self._trims = _has_causal_text(model)
        probe_tokens, probe_pixels = tokenize(list(TEXTS)), self._pixels(golden_images())
        self._texts, self._images = (
            Features(_encode_trimmed if self._trims else _text_features),
            Features(_image_features),
        )
        text_features = Features(_text_features)  # of texts at full length
        self._model, precision = in_precision(
            with_fast_attention(self._model),
            compute.precision,
            lambda candidate: unit(
                np.concatenate(
                    [text_features(candidate, tokens=probe_tokens), self._images(candidate, pixels=probe_pixels)]
                )
            ),
            compute.device,
        )
        self._batches = Batches.of(self._model, IMAGE_BATCH, fixed=compute.compile)
        dim = text_features(self._model, tokens=probe_tokens).shape[1]
        self.info = EncoderInfo(name, int(dim), (Modality.TEXT, Modality.IMAGE), fingerprint, precision)
        if compute.compile:
            self._compile(name)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed N texts, cut to the context length: (N, D) float32, unit length."""
        if not len(checked_texts(texts)):
            return np.empty((0, self.info.dim), np.float32)
        tokens = self._tokenize([well_formed(text) for text in texts])
        return by_length(
            _text_lengths(tokens).tolist(),
            lambda positions: self._tokens_to_vectors(tokens[list(positions)]),
            self.info.dim,
            self._batches.texts,
        )

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Embed N pictures: (N, D) float32, unit length."""
        return in_batches(
            checked_images(images),
            lambda batch: self._images(self._model, pixels=self._pixels(batch)),
            self.info.dim,
            self._batches.images,
        )

    def encode_pixels(self, pixels: Pixels) -> Vectors:
        """Embed N pictures in the model's own form, (N, side, side, 3) uint8: (N, D) float32, unit length."""
        return pixels_in_batches(
            pixels,
            lambda batch: self._images(self._model, pixels=self._normalise(batch)),
            self.info.dim,
            self._batches.images,
        )

    def _pixels(self, images: Sequence[Image.Image]) -> torch.Tensor:
        if self.image_form is None:
            return torch.stack([self._preprocess(to_rgb(image)) for image in images])
        return self._normalise(np.stack([self.image_form.apply(to_rgb(image)) for image in images]))

    def _tokens_to_vectors(self, tokens: torch.Tensor) -> Vectors:
        if self._trims:
            tokens = tokens[:, : self._batches.length(int(_text_lengths(tokens).max()), tokens.shape[1])]
        return self._texts(self._model, tokens=tokens)


def _form(settings: dict[str, Any]) -> ImageForm | None:
    """Return the preprocessing as data, where it is one that `ImageForm` knows."""
    size = settings["size"]
    width, height = (size, size) if isinstance(size, int) else size[-2:]
    if width != height or settings["resize_mode"] not in ("shortest", "squash"):
        return None
    return ImageForm(int(width), settings["resize_mode"], settings["interpolation"])


def _has_causal_text(model: Any) -> bool:  # noqa: ANN401
    """Whether each token sees only those before it, and the vector is read at the text's last one."""
    # Towers of other classes keep a mask of full length, and some have tokens of their own at the end.
    return (
        isinstance(model, open_clip.CLIP) and model.attn_mask is not None and model.text_pool_type in ("argmax", "eos")
    )


def _text_lengths(tokens: torch.Tensor) -> torch.Tensor:
    """Return for each line of (B, L) token ids how many there are before the padding, which is zero."""
    positions = torch.arange(1, tokens.shape[1] + 1)
    return (positions * (tokens != 0)).amax(dim=1)


def _encode_trimmed(model: Any, tokens: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    """Do what ``model.encode_text`` does for tokens (B, L) that end before the context length."""
    length = tokens.shape[1]
    dtype = model.transformer.get_cast_dtype()
    x = model.token_embedding(tokens).to(dtype) + model.positional_embedding[:length].to(dtype)
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    eos = getattr(model, "text_eos_id", None)
    pooled: torch.Tensor = open_clip.transformer.text_global_pool(x, tokens, model.text_pool_type, eos_token_id=eos)
    projection = model.text_projection
    if isinstance(projection, torch.nn.Linear):
        return torch.nn.functional.linear(pooled, projection.weight, projection.bias)
    return pooled if projection is None else pooled @ projection


def _text_features(model: Any, tokens: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    features: torch.Tensor = model.encode_text(tokens)
    return features


def _image_features(model: Any, pixels: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    features: torch.Tensor = model.encode_image(pixels)
    return features


def load(rest: str, compute: Compute) -> OpenClipEncoder:
    """Load ``ARCH/TAG``, ``hf-hub:ORG/REPO`` or ``local-dir:FOLDER``.

    Raises:
        EncoderError: When there is no such model, it cannot be reached, or its weights are no safetensors.
        DeviceError: For a GPU that is not there.
    """
    torch_device(compute.device)  # before a model is fetched
    name = f"open_clip:{rest}"
    try:
        if rest.startswith("local-dir:"):
            _check_folder(Path(rest.removeprefix("local-dir:")))
            return _create(name, compute, rest)
        if rest.startswith("hf-hub:"):
            return load_from_hub(rest.removeprefix("hf-hub:"), lambda _: _create(name, compute, rest))
        arch, tag = _architecture_and_tag(rest)
        repo = "/".join(open_clip.get_pretrained_cfg(arch, tag)["hf_hub"].split("/")[:2])  # a file name may follow
        return load_from_hub(repo, lambda _: _create(name, compute, arch, tag))
    except EncoderError:
        raise
    except Exception as error:  # open_clip raises RuntimeError, ValueError, KeyError, OSError, …
        raise EncoderError(f"open_clip cannot load {rest!r}: {one_line(error)}") from error


def _create(name: str, compute: Compute, arch: str, tag: str | None = None) -> OpenClipEncoder:
    with _quiet(), no_remote_code(name):
        config = open_clip.get_model_config(arch)
        check_settings(name, config)
        _check_weights(name, arch, tag)
        # This one, unlike `create_model_and_transforms`, fails where there are no weights instead of making some up.
        model, preprocess = open_clip.create_model_from_pretrained(arch, pretrained=tag, weights_only=True)
        tokenizer = open_clip.get_tokenizer(arch)
    return OpenClipEncoder(name, model, preprocess, tokenizer, config, compute)


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
    quickgelu_name = f"{arch}-quickgelu/{tag}"
    if trained.get("quick_gelu") and not open_clip.get_model_config(arch).get("quick_gelu") and quickgelu_name in known:
        raise EncoderError(
            f"{rest!r} was trained with another activation than {arch} has: load 'open_clip:{quickgelu_name}'"
        )
    return arch, tag


def _check_weights(name: str, arch: str, tag: str | None) -> None:
    """Check that what open_clip would read from a hub is no pickle; a folder is checked by itself."""
    library = open_clip.pretrained
    try:
        if tag is not None:
            file = library.download_pretrained(open_clip.get_pretrained_cfg(arch, tag))
        elif arch.startswith("hf-hub:"):
            file = library.download_pretrained_from_hf(arch.removeprefix("hf-hub:"))
        else:
            return
    except FileNotFoundError:
        return  # the library says so in its own words
    if Path(file).suffix != ".safetensors":
        raise EncoderError(f"{name} has no safetensors, only {Path(file).name}, a pickle that could run code")


def _check_folder(folder: Path) -> None:
    if not (folder / CONFIG).is_file():
        raise EncoderError(f"{folder} is no open_clip model: it has no {CONFIG}")
    if not (folder / WEIGHTS).is_file():
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth"))
        raise EncoderError(
            f"{folder} has no {WEIGHTS}"
            + (f", only {pickles[0]}, a pickle that could run code: convert it to safetensors" if pickles else "")
        )
