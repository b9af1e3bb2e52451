"""One suite over every encoder."""

import builtins
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexing.encoders import Encoder, load_encoder
from indexing.encoders.golden import check_golden, golden_images, golden_vectors
from indexing.errors import EncoderMismatchError
from indexing.types import Modality
from tests.tiny_models import tiny_clip, tiny_open_clip, tiny_siglip
from tests.toy import ToyEncoder

SPECS: dict[str, Callable[[Path], str]] = {
    "pocket": lambda _: "pocket",
    "open_clip": lambda folder: f"open_clip:local-dir:{tiny_open_clip(folder / 'open_clip')}",
    "clip": lambda folder: f"hf:{tiny_clip(folder / 'clip')}",
    "siglip": lambda folder: f"hf:{tiny_siglip(folder / 'siglip')}",
}
TEXTS = ["a red mug", "Two children fly a kite " * 60, "", "☂ 猫 собака", "a red mug.", "x"]


@pytest.fixture(scope="module", params=[*SPECS, "toy"])
def load(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Encoder]:
    if request.param == "toy":
        return ToyEncoder
    spec = SPECS[request.param](tmp_path_factory.mktemp("models"))
    return lambda: load_encoder(spec)


@pytest.fixture(scope="module")
def encoder(load: Callable[[], Encoder]) -> Encoder:
    return load()


def pictures() -> list[Image.Image]:
    return [*golden_images(), Image.new("RGB", (7, 90), "red"), Image.new("RGB", (1, 1), "blue")]


def test_it_says_what_it_is(encoder: Encoder) -> None:
    assert isinstance(encoder, Encoder)
    assert len(encoder.info.fingerprint) == 64
    assert set(encoder.info.modalities) == {Modality.TEXT, Modality.IMAGE}


def test_vectors_are_float32_of_unit_length(encoder: Encoder) -> None:
    for vectors, count in ((encoder.encode_texts(TEXTS), len(TEXTS)), (encoder.encode_images(pictures()), 6)):
        assert vectors.shape == (count, encoder.info.dim)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_batch_equals_one_by_one_in_order(encoder: Encoder) -> None:
    texts = [*TEXTS, *reversed(TEXTS)] * 8  # more than one batch, lengths mixed
    singles = {text: encoder.encode_texts([text])[0] for text in TEXTS}
    np.testing.assert_allclose(encoder.encode_texts(texts), [singles[text] for text in texts], atol=2e-5)
    images = pictures()
    alone = np.concatenate([encoder.encode_images([image]) for image in images])
    # Low precision may round differently in batches of other sizes.
    atol = 2e-5 if encoder.info.precision == "float32" else 4e-3
    np.testing.assert_allclose(encoder.encode_images(images * 12), np.tile(alone, (12, 1)), atol=atol)


def test_empty_batches(encoder: Encoder) -> None:
    assert encoder.encode_texts([]).shape == (0, encoder.info.dim)
    assert encoder.encode_images([]).shape == (0, encoder.info.dim)


def test_different_contents_differ_and_equal_ones_agree(encoder: Encoder) -> None:
    mug, other, again = encoder.encode_texts(["a red mug", "two children fly a kite", "a red mug"])
    assert mug @ other < 0.9999
    assert mug @ again > 0.99999
    gradient, stripes = encoder.encode_images(golden_images()[:2])
    assert gradient @ stripes < 0.99999


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16"])
def test_pictures_of_any_mode(encoder: Encoder, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16)
    else:
        image = golden_images()[0].convert(mode)
    np.testing.assert_allclose(np.linalg.norm(encoder.encode_images([image])), 1, atol=1e-5)


def test_transparency_is_shown_on_white(encoder: Encoder) -> None:
    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    clear.paste((200, 30, 30, 255), (10, 10, 30, 30))
    shown = Image.new("RGB", (40, 40), "white")
    shown.paste((200, 30, 30), (10, 10, 30, 30))
    np.testing.assert_allclose(encoder.encode_images([clear]), encoder.encode_images([shown]), atol=1e-5)


def test_a_text_is_a_text_whatever_it_looks_like(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary.png"
    golden_images()[0].save(canary)

    def refuse(*arguments: Any, **_: Any) -> Any:
        raise AssertionError(f"opened {arguments}")

    before = encoder.encode_texts(["x"])
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(builtins, "open", refuse)
    monkeypatch.setattr(Image, "open", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    vectors = encoder.encode_texts(["http://127.0.0.1:9/x.png", str(canary), f"file://{canary}", "x"])
    np.testing.assert_allclose(vectors[3], before[0], atol=2e-5)


def test_two_loads_are_the_same_encoder(encoder: Encoder, load: Callable[[], Encoder]) -> None:
    again = load()
    assert again.info == encoder.info
    check_golden(again, golden_vectors(encoder))


def test_golden_inputs_notice_another_encoder(encoder: Encoder) -> None:
    stored = golden_vectors(encoder)
    stored[6] = np.roll(stored[6], 1)
    with pytest.raises(EncoderMismatchError, match="golden input 6 has cosine"):
        check_golden(encoder, stored)
    with pytest.raises(EncoderMismatchError, match="golden vectors of shape"):
        check_golden(encoder, stored[:, 1:])
