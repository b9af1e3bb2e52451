"""CLIP and SigLIP through transformers, with exactly the vectors that transformers gives."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image

from indexing.encoders.base import EncoderInfo
from indexing.encoders.batches import in_batches, to_rgb, well_formed
from indexing.encoders.golden import TEXTS
from indexing.encoders.hub import load_from_hub, one_line
from indexing.encoders.weights import lasting, state_fingerprint, vocabulary
from indexing.errors import EncoderError, examples
from indexing.types import Modality, Vectors

FAMILIES = ("clip", "siglip", "siglip2")
# These scale the similarity in training; vectors do not depend on them, so a checkpoint may lack them.
NOT_IN_VECTORS = {"logit_scale", "logit_bias"}


class TransformersEncoder:
    """A CLIP or SigLIP model of transformers behind the `Encoder` protocol.

    Args:
        name: The spec it was loaded by.
        model: The model.
        tokenizer: Its tokenizer.
        image_processor: Its preprocessing of pictures.
        config: The model's configuration as its file has it: what its weights do not say.
    """

    def __init__(self, name: str, model: Any, tokenizer: Any, image_processor: Any, config: dict[str, Any]) -> None:  # noqa: ANN401
        self._model = model.eval().requires_grad_(False)
        self._tokenizer, self._image_processor = tokenizer, image_processor
        # SigLIP was trained on texts padded to their full length, and reads the last place; CLIP does not mind.
        self._padding = "longest" if model.config.model_type == "clip" else "max_length"
        self._length = int(model.config.text_config.max_position_embeddings)
        fingerprint = state_fingerprint(
            model,
            config=lasting(config),
            preprocess=image_processor.to_json_string(),
            vocabulary=vocabulary(tokenizer),
            tokens=self._tokens(TEXTS)["input_ids"].tolist(),
            padding=self._padding,
            library="transformers",
        )
        dim = self._texts(["a"]).shape[1]
        self.info = EncoderInfo(name, int(dim), (Modality.TEXT, Modality.IMAGE), fingerprint)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed N texts, cut to the context length: (N, D) float32, unit length."""
        return in_batches(texts, self._texts, self.info.dim)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Embed N pictures: (N, D) float32, unit length."""
        return in_batches(images, self._images, self.info.dim)

    def _tokens(self, texts: Sequence[str]) -> Any:  # noqa: ANN401
        return self._tokenizer(
            [well_formed(text) for text in texts],
            padding=self._padding,
            truncation=True,
            max_length=self._length,
            return_tensors="pt",
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
    try:
        if Path(rest).is_dir():
            return _create(rest, offline=True)
        return load_from_hub(rest, lambda offline: _create(rest, offline=offline))
    except EncoderError:
        raise
    except Exception as error:  # transformers and safetensors raise OSError, ValueError, RuntimeError, their own, …
        raise EncoderError(f"transformers cannot load hf:{rest}: {one_line(error)}") from error


def _create(rest: str, *, offline: bool) -> TransformersEncoder:
    where = {"local_files_only": offline}
    config, _ = transformers.PretrainedConfig.get_config_dict(rest, **where)
    family = config.get("model_type")
    if family not in FAMILIES:
        raise EncoderError(f"hf:{rest} is a {family!r} model; supported are {', '.join(FAMILIES)}")
    model = _complete_model(rest, **where)
    tokenizer = transformers.AutoTokenizer.from_pretrained(rest, **where)
    image_processor = transformers.AutoImageProcessor.from_pretrained(rest, **where)
    return TransformersEncoder(f"hf:{rest}", model, tokenizer, image_processor, config)


def _complete_model(rest: str, *, local_files_only: bool) -> Any:  # noqa: ANN401
    with _quiet():
        model, report = transformers.AutoModel.from_pretrained(
            rest,
            use_safetensors=True,
            dtype=torch.float32,
            local_files_only=local_files_only,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are listed; they are refused below
        )
    # transformers only warns of these and fills the gaps with random numbers, others at each load.
    misshapen = {key if isinstance(key, str) else key[0] for key in report["mismatched_keys"]}
    if gaps := sorted((set(report["missing_keys"]) | misshapen) - NOT_IN_VECTORS):
        raise EncoderError(
            f"hf:{rest} has no fitting weights for {examples(gaps)}: its files are not complete or not of one model"
        )
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what transformers prints while it loads: its report on missing weights becomes our error."""
    log = transformers.utils.logging
    verbosity, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bar:
            log.enable_progress_bar()
