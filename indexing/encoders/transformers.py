"""CLIP and SigLIP through transformers, with exactly the vectors that transformers gives."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image

from indexing.encoders.base import EncoderInfo
from indexing.encoders.batches import in_batches, to_rgb
from indexing.encoders.hub import hub_access
from indexing.encoders.weights import state_fingerprint
from indexing.errors import EncoderError
from indexing.types import Modality, Vectors

CONFIG, WEIGHTS = "config.json", ("model.safetensors", "model.safetensors.index.json")
FAMILIES = ("clip", "siglip", "siglip2")


class TransformersEncoder:
    """A CLIP or SigLIP model of transformers behind the `Encoder` protocol."""

    def __init__(self, name: str, model: Any, tokenizer: Any, image_processor: Any) -> None:  # noqa: ANN401
        self._model = model.eval().requires_grad_(False)
        self._tokenizer, self._image_processor = tokenizer, image_processor
        text = model.config.text_config
        # SigLIP was trained on texts padded to their full length, and reads the last place; CLIP does not mind.
        self._padding = "longest" if model.config.model_type == "clip" else "max_length"
        self._length = int(text.max_position_embeddings)
        dim = self._texts(["a"]).shape[1]
        fingerprint = state_fingerprint(
            model,
            preprocess=image_processor.to_json_string(),
            tokens=self._tokens(["A red mug, ☂ 12"])["input_ids"].tolist(),
            padding=self._padding,
            library="transformers",
        )
        self.info = EncoderInfo(name, int(dim), (Modality.TEXT, Modality.IMAGE), fingerprint)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed N texts, cut to the context length: (N, D) float32, unit length."""
        return in_batches(texts, self._texts, self.info.dim)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Embed N pictures: (N, D) float32, unit length."""
        return in_batches(images, self._images, self.info.dim)

    def _tokens(self, texts: Sequence[str]) -> Any:  # noqa: ANN401
        return self._tokenizer(
            list(texts), padding=self._padding, truncation=True, max_length=self._length, return_tensors="pt"
        )

    @torch.inference_mode()
    def _texts(self, texts: Sequence[str]) -> Vectors:
        return _pooled(self._model.get_text_features(**self._tokens(texts)))

    @torch.inference_mode()
    def _images(self, images: Sequence[Image.Image]) -> Vectors:
        pixels = self._image_processor(images=[to_rgb(image) for image in images], return_tensors="pt")
        return _pooled(self._model.get_image_features(**pixels))


def _pooled(features: Any) -> Vectors:  # noqa: ANN401
    """Give features as (B, D): a tensor in transformers 4, an output with ``pooler_output`` in 5."""
    tensor = features if isinstance(features, torch.Tensor) else features.pooler_output
    vectors: Vectors = tensor.float().numpy()
    return vectors


def load(rest: str) -> TransformersEncoder:
    """Load ``ORG/REPO`` or a local folder.

    Raises:
        EncoderError: When there is no such model, it cannot be reached, or it is no CLIP or SigLIP in safetensors.
    """
    folder = Path(rest)
    local = folder.is_dir()
    if not local and (rest.count("/") != 1 or folder.is_absolute()):
        raise EncoderError(f"hf:{rest} is neither a folder nor a model of the form ORG/REPO")
    with nullcontext() if local else hub_access(rest, CONFIG, WEIGHTS):
        try:
            config = transformers.AutoConfig.from_pretrained(rest)
            if config.model_type not in FAMILIES:
                raise EncoderError(f"hf:{rest} is a {config.model_type!r} model; supported are {', '.join(FAMILIES)}")
            model = transformers.AutoModel.from_pretrained(rest, use_safetensors=True, dtype=torch.float32)
            tokenizer = transformers.AutoTokenizer.from_pretrained(rest)
            processor = transformers.AutoImageProcessor.from_pretrained(rest)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise EncoderError(f"transformers cannot load hf:{rest}: {error}") from error
    return TransformersEncoder(f"hf:{rest}", model, tokenizer, processor)
