"""The encoders give exactly the vectors of the libraries themselves, written out here in the libraries' own words."""

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from indexing.encoders import load_encoder
from indexing.encoders.golden import golden_images
from indexing.errors import EncoderError
from tests.tiny_models import tiny_clip, tiny_open_clip, tiny_siglip

TEXTS = ["a red mug", "two children fly a kite over the beach " * 9, "", "size 42 ☂"]


def unit(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = torch.nn.functional.normalize(tensor, dim=1).numpy()
    return array


def pictures() -> list[Image.Image]:
    return [*golden_images(), Image.new("RGB", (200, 50), "teal")]


@torch.inference_mode()
def test_open_clip(tmp_path: Path) -> None:
    folder = tiny_open_clip(tmp_path / "model")
    encoder = load_encoder(f"open_clip:local-dir:{folder}")
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), unit(model.encode_text(tokenizer(TEXTS))), atol=1e-6)
    pixels = torch.stack([preprocess(picture) for picture in pictures()])
    np.testing.assert_allclose(encoder.encode_images(pictures()), unit(model.encode_image(pixels)), atol=1e-6)


@pytest.mark.parametrize(("make", "padding"), [(tiny_clip, True), (tiny_siglip, "max_length")])
@torch.inference_mode()
def test_transformers(tmp_path: Path, make: Any, padding: Any) -> None:
    folder = make(tmp_path / "model")
    encoder = load_encoder(f"hf:{folder}")
    model = AutoModel.from_pretrained(folder).eval()
    tokenizer, processor = AutoTokenizer.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)
    tokens = tokenizer(TEXTS, padding=padding, truncation=True, max_length=16, return_tensors="pt")
    texts, images = model.get_text_features(**tokens), model.get_image_features(**processor(pictures(), return_tensors="pt"))
    texts, images = (part if isinstance(part, torch.Tensor) else part.pooler_output for part in (texts, images))
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), unit(texts), atol=1e-6)
    np.testing.assert_allclose(encoder.encode_images(pictures()), unit(images), atol=1e-6)


@pytest.mark.parametrize("make", [tiny_clip, tiny_open_clip])
def test_the_fingerprint_follows_weights_and_preprocessing_but_not_the_folder(tmp_path: Path, make: Any) -> None:
    def fingerprint(folder: Path) -> str:
        return load_encoder(f"{'hf:' if make is tiny_clip else 'open_clip:local-dir:'}{folder}").info.fingerprint

    first = fingerprint(make(tmp_path / "first"))
    assert fingerprint(make(tmp_path / "elsewhere" / "same")) == first
    assert fingerprint(make(tmp_path / "trained otherwise", seed=1)) != first
    changed = make(tmp_path / "other preprocessing")
    config = changed / ("preprocessor_config.json" if make is tiny_clip else "open_clip_config.json")
    text = config.read_text()
    config.write_text(text.replace("0.48", "0.39"))
    assert config.read_text() != text
    assert fingerprint(changed) != first


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = tiny_open_clip(tmp_path / "model")
    (folder / "open_clip_model.safetensors").rename(folder / "open_clip_pytorch_model.bin")
    with pytest.raises(EncoderError, match="only open_clip_pytorch_model.bin, a pickle that could run code"):
        load_encoder(f"open_clip:local-dir:{folder}")
    clip = tiny_clip(tmp_path / "clip")
    (clip / "model.safetensors").rename(clip / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="transformers cannot load hf:.*safetensors"):
        load_encoder(f"hf:{clip}")
