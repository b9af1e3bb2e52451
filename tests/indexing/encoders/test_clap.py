"""CLAP: transformers' own vectors for sounds that fit, the same ones every time for those that do not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoFeatureExtractor, AutoTokenizer, ClapModel

from indexing.encoders import AudioEncoder, Encoder, load_encoder
from indexing.encoders.base import EncoderInfo, check_golden, golden_sounds, golden_vectors, with_audio
from indexing.errors import EncoderError, EncoderMismatchError, ShapeError, VectorError
from indexing.media.files import Modality
from tests.tiny_models import tiny_clap, tiny_clip
from tests.toy import ToyEncoder

TEXTS = ["a dog barks", "rain on a tin roof " * 30, "", "size 42 ☂"]
RATE = 8_000


def load(folder: Path) -> AudioEncoder:
    return with_audio(load_encoder(f"clap:{folder}"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clap(tmp_path_factory.mktemp("clap") / "model")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> AudioEncoder:
    return load(folder)


def noise(samples: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, samples).astype(np.float32)


def sounds() -> list[np.ndarray[Any, Any]]:
    return [golden_sounds(RATE)[0][:RATE], noise(3_000), noise(1), np.zeros(500, np.float32)]


def unit(features: Any) -> np.ndarray[Any, Any]:  # noqa: ANN401
    tensor = features if isinstance(features, torch.Tensor) else features.pooler_output
    array: np.ndarray[Any, Any] = torch.nn.functional.normalize(tensor, dim=1).numpy()
    return array


@pytest.mark.parametrize("fusion", [False, True])
@torch.inference_mode()
def test_vectors_are_those_of_transformers(tmp_path: Path, fusion: bool) -> None:
    folder = tiny_clap(tmp_path / "model", fusion=fusion)
    encoder, model = load(folder), ClapModel.from_pretrained(folder).eval()
    extractor, tokenizer = AutoFeatureExtractor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer(TEXTS, padding=True, truncation=True, max_length=16, return_tensors="pt")
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), unit(model.get_text_features(**tokens)), atol=1e-6)
    inputs = extractor(sounds(), sampling_rate=RATE, return_tensors="pt")
    inputs["is_longer"] = torch.zeros(len(sounds()), 1, dtype=torch.bool)  # none is; with fusion one is drawn to be
    heard = model.get_audio_features(**inputs.to(torch.float32))
    np.testing.assert_allclose(encoder.encode_audio(sounds()), unit(heard), atol=1e-6)


def test_vectors_are_float32_of_unit_length(encoder: AudioEncoder) -> None:
    assert isinstance(encoder, Encoder)
    assert encoder.info.modalities == (Modality.TEXT, Modality.AUDIO)
    assert encoder.audio_rate == RATE
    for vectors, count in ((encoder.encode_texts(TEXTS), 4), (encoder.encode_audio(sounds()), 4)):
        assert vectors.shape == (count, encoder.info.dim)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert encoder.encode_audio([]).shape == encoder.encode_texts([]).shape == (0, encoder.info.dim)


@pytest.mark.parametrize("fusion", [False, True])
def test_a_long_sound_is_the_mean_of_its_windows_every_time(tmp_path: Path, fusion: bool) -> None:
    encoder = load(tiny_clap(tmp_path / "model", fusion=fusion))
    long = noise(RATE * 5 // 2)
    starts = [0, RATE * 3 // 4, RATE * 3 // 2]
    mean = encoder.encode_audio([long[start : start + RATE] for start in starts]).mean(axis=0)
    vectors = encoder.encode_audio([long, long])
    np.testing.assert_allclose(vectors, np.tile(mean / np.linalg.norm(mean), (2, 1)), atol=1e-5)
    np.testing.assert_array_equal(encoder.encode_audio([long, long]), vectors)


def test_batch_equals_one_by_one_in_order(encoder: AudioEncoder) -> None:
    many = [*sounds(), noise(3 * RATE + 5), noise(RATE + 1), *reversed(sounds())] * 2
    alone = np.concatenate([encoder.encode_audio([sound]) for sound in many])
    np.testing.assert_allclose(encoder.encode_audio(many), alone, atol=2e-5)


def test_sounds_of_the_wrong_kind_are_refused(encoder: AudioEncoder) -> None:
    good = noise(100)
    for bad, shape in ((np.zeros((2, 100)), r"\(2, 100\)"), (np.zeros(0), r"\(0,\)"), (np.float32(1), r"\(\)")):
        with pytest.raises(ShapeError, match=rf"sound 1 has shape {shape}, expected \(S,\)"):
            encoder.encode_audio([good, bad])  # type: ignore[list-item]
    with pytest.raises(VectorError, match="sound 1 has samples that are not finite"):
        encoder.encode_audio([good, np.full(100, np.nan, np.float32)])


def test_pictures_are_refused(encoder: AudioEncoder) -> None:
    with pytest.raises(EncoderError, match="cannot embed image, only text, audio"):
        encoder.encode_images([Image.new("RGB", (8, 8))])


def test_an_encoder_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="encoder 'toy' cannot embed audio, only text, image"):
        with_audio(ToyEncoder())
    claims = ToyEncoder()
    claims.info = EncoderInfo("toy", 16, (Modality.TEXT, Modality.AUDIO), "0")
    with pytest.raises(EncoderError, match="claims audio but has no encode_audio"):
        with_audio(claims)
    with pytest.raises(EncoderError, match="is a 'clip' model; supported are clap"):
        load(tiny_clip(tmp_path / "clip"))


def test_golden_inputs_cover_sounds(encoder: AudioEncoder, folder: Path, tmp_path: Path) -> None:
    stored = golden_vectors(encoder)
    assert stored.shape == (6, encoder.info.dim)
    check_golden(load(folder), stored)
    other = tiny_clap(tmp_path / "model")
    config = json.loads((other / "preprocessor_config.json").read_text())
    (other / "preprocessor_config.json").write_text(json.dumps(config | {"padding": "pad", "hop_length": 100}))
    assert load(other).info.fingerprint != encoder.info.fingerprint
    with pytest.raises(EncoderMismatchError, match=r"golden input [45] has cosine"):  # the sounds
        check_golden(load(other), stored, at_least=0.99999)
    assert len(golden_vectors(ToyEncoder())) == 8


def test_the_fingerprint_follows_one_weight_but_not_the_folder(tmp_path: Path) -> None:
    first = load(tiny_clap(tmp_path / "first")).info.fingerprint
    (tmp_path / "first").rename(tmp_path / "moved")
    assert load(tmp_path / "moved").info.fingerprint == first
    weights = tmp_path / "moved" / "model.safetensors"
    parts = load_file(weights)
    parts["audio_projection.linear1.weight"][0, 0] += 1
    save_file(parts, weights, {"format": "pt"})
    assert load(tmp_path / "moved").info.fingerprint != first
    del parts["audio_projection.linear1.weight"]
    save_file(parts, weights, {"format": "pt"})
    with pytest.raises(EncoderError, match=r"no fitting weights for 'audio_projection.linear1.weight'"):
        load(tmp_path / "moved")


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = tiny_clap(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"transformers cannot load clap:.*safetensors"):
        load(folder)
    with pytest.raises(EncoderError, match="'nothing' is neither a folder nor a model of the form ORG/REPO"):
        load_encoder("clap:nothing")
