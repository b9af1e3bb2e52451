"""CLAP through transformers: texts and sounds in one space, with exactly the vectors that transformers gives.

Of a long sound transformers takes a part at random, so that each call gives another vector. Here it is covered by as
few windows of the model's own length as it needs, evenly spaced from its beginning to its end, and its vector is the
mean of theirs. A sound that fits into one window has the vector that transformers gives; a model with feature fusion
is never told that a sound is longer than a window, because none is.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from indexing.arrays import Vectors, unit
from indexing.encoders.base import TEXTS, EncoderInfo, require
from indexing.encoders.inference.batching import checked_sounds, in_batches
from indexing.encoders.inference.checkpoints import (
    REFUSED,
    checked_config,
    complete_model,
    load_checkpoint,
    pooled,
    tokens,
)
from indexing.encoders.inference.compute import Compute
from indexing.encoders.inference.hub import check_embeds
from indexing.encoders.inference.torch_device import torch_device
from indexing.encoders.inference.torch_models import device_of, stable_config, state_fingerprint, vocabulary
from indexing.media.audio import Sound
from indexing.media.files import Modality

FAMILIES = ("clap",)
AUDIO_BATCH = 8  # windows; a spectrogram of ten seconds is as large as a picture, its activations larger


class ClapEncoder:
    """A CLAP model of transformers behind the `AudioEncoder` protocol.

    Args:
        name: The spec it was loaded by.
        model: The model, frozen.
        tokenizer: Its tokenizer.
        extractor: Its preprocessing of sounds.
        config: The model's configuration as its file has it: what its weights do not say.
    """

    def __init__(self, name: str, model: Any, tokenizer: Any, extractor: Any, config: dict[str, Any]) -> None:  # noqa: ANN401
        self._model, self._tokenizer, self._extractor = model, tokenizer, extractor
        texts = model.config.text_config
        # RoBERTa counts positions from the one after its padding token.
        self._length = int(texts.max_position_embeddings) - int(texts.pad_token_id) - 1
        self.audio_rate = int(extractor.sampling_rate)
        self._window = int(extractor.nb_max_samples)
        fingerprint = state_fingerprint(
            model,
            config=stable_config(config),
            preprocess=extractor.to_json_string(),
            vocabulary=vocabulary(tokenizer),
            tokens=self._tokens(TEXTS)["input_ids"].tolist(),
            long_sounds="mean of windows",
            library="transformers",
        )
        check_embeds(name, "sounds", lambda: self._sounds([np.zeros(self._window, np.float32)]))
        dim = self._texts(["a"]).shape[1]
        self.info = EncoderInfo(name, int(dim), (Modality.TEXT, Modality.AUDIO), fingerprint)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed N texts, cut to the context length: (N, D) float32, unit length."""
        return in_batches(texts, self._texts, self.info.dim)

    def encode_audio(self, sounds: Sequence[Sound]) -> Vectors:
        """Embed N sounds, each (S,) float32 mono at `audio_rate`: (N, D) float32, unit length.

        Raises:
            ShapeError: When a sound is not (S,) with S >= 1.
            VectorError: When a sound has samples that are not finite.
        """
        cut = [list(windows(sound, self._window)) for sound in checked_sounds(sounds)]
        flat = in_batches([window for parts in cut for window in parts], self._sounds, self.info.dim, AUDIO_BATCH)
        ends = np.cumsum([len(parts) for parts in cut], dtype=np.int64)
        means = [flat[end - len(parts) : end].mean(axis=0) for parts, end in zip(cut, ends, strict=True)]
        return unit(np.array(means, np.float32).reshape(-1, self.info.dim))

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:  # noqa: ARG002
        """Refuse: CLAP sees nothing.

        Raises:
            EncoderError: Always.
        """
        require(self, Modality.IMAGE)
        raise NotImplementedError

    def _tokens(self, texts: Sequence[str]) -> Any:  # noqa: ANN401
        return tokens(self._tokenizer, texts, "longest", self._length)

    @torch.inference_mode()
    def _texts(self, texts: Sequence[str]) -> Vectors:
        return pooled(self._model.get_text_features(**self._tokens(texts).to(device_of(self._model))))

    @torch.inference_mode()
    def _sounds(self, sounds: Sequence[Sound]) -> Vectors:
        features = self._extractor(list(sounds), sampling_rate=self.audio_rate, return_tensors="pt")
        # The extractor declares one sound of a batch, drawn at random, to be longer than it is.
        device = device_of(self._model)
        longer = torch.zeros(len(sounds), 1, dtype=torch.bool, device=device)
        return pooled(self._model.get_audio_features(features["input_features"].float().to(device), is_longer=longer))


def windows(sound: Sound, length: int) -> Iterator[Sound]:
    """Cover a sound (S,) by as few windows as it needs, evenly spaced: each (length,), or (S,) if that is shorter.

    >>> [window.tolist() for window in windows(np.arange(5, dtype=np.float32), 3)]
    [[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]]
    """
    count = -(-len(sound) // length)
    for start in np.linspace(0, max(0, len(sound) - length), count).round().astype(np.int64):
        yield sound[start : start + length]


def load(rest: str, compute: Compute) -> ClapEncoder:
    """Load ``ORG/REPO`` or a local folder, in float32.

    Raises:
        EncoderError: When there is no such model, it cannot be reached, or it is no CLAP in safetensors.
        DeviceError: For a GPU that is not there.
    """
    name = f"clap:{rest}"
    compute.refuse_compile(name)
    device = torch_device(compute.device)
    return load_checkpoint(name, rest, lambda offline: _create(name, rest, device, offline=offline))


def _create(name: str, rest: str, device: str, *, offline: bool) -> ClapEncoder:
    config = checked_config(name, rest, FAMILIES, offline=offline)
    model = complete_model(name, rest, offline=offline).to(device)
    tokenizer = transformers.AutoTokenizer.from_pretrained(rest, local_files_only=offline, **REFUSED)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(rest, local_files_only=offline, **REFUSED)
    return ClapEncoder(name, model, tokenizer, extractor, config)
