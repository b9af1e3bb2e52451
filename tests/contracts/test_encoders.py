"""One suite over every encoder."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexing.encoders import Encoder, load_encoder
from indexing.encoders.base import check_golden, golden_images, golden_vectors
from indexing.errors import EncoderMismatchError
from indexing.media.files import Modality
from tests.tiny_models import tiny_align, tiny_chinese_clip, tiny_clip, tiny_open_clip, tiny_siglip, tiny_siglip2
from tests.toy import ToyEncoder

SPECS: dict[str, Callable[[Path], str]] = {
    "pocket": lambda _: "pocket",
    "open_clip": lambda folder: f"open_clip:local-dir:{tiny_open_clip(folder / 'open_clip')}",
    "clip": lambda folder: f"hf:{tiny_clip(folder / 'clip')}",
    "siglip": lambda folder: f"hf:{tiny_siglip(folder / 'siglip')}",
    "siglip2": lambda folder: f"hf:{tiny_siglip2(folder / 'siglip2')}",
    "chinese_clip": lambda folder: f"hf:{tiny_chinese_clip(folder / 'chinese_clip')}",
    "align": lambda folder: f"hf:{tiny_align(folder / 'align')}",
}
TEXTS = ["a red mug", "Two children fly a kite " * 60, "", "☂ 猫 собака", "a red mug.", "x"]


@pytest.fixture(scope="module", params=[*SPECS, "toy"])
def load(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Encoder]:
    if request.param == "toy":
        return lambda **_: ToyEncoder()
    spec = SPECS[request.param](tmp_path_factory.mktemp("models"))
    return lambda **given: load_encoder(spec, **given)


@pytest.fixture(scope="module")
def encoder(load: Callable[..., Encoder]) -> Encoder:
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
    texts = [*TEXTS, *reversed(TEXTS)] * 6  # more than one batch, lengths mixed
    singles = {text: encoder.encode_texts([text])[0] for text in TEXTS}
    # Low precision may round differently in batches of other sizes.
    atol = 2e-5 if encoder.info.precision == "float32" else 4e-3
    np.testing.assert_allclose(encoder.encode_texts(texts), [singles[text] for text in texts], atol=atol)
    images = pictures()
    alone = np.concatenate([encoder.encode_images([image]) for image in images])
    np.testing.assert_allclose(encoder.encode_images(images * 12), np.tile(alone, (12, 1)), atol=atol)


def test_half_a_surrogate_pair_is_no_crash(encoder: Encoder) -> None:
    half, mark = encoder.encode_texts(["mug \ud83d", "mug ?"])
    np.testing.assert_allclose(half, mark, atol=2e-5)


def test_empty_batches(encoder: Encoder) -> None:
    assert encoder.encode_texts([]).shape == (0, encoder.info.dim)
    assert encoder.encode_images([]).shape == (0, encoder.info.dim)


def test_different_contents_differ_and_equal_ones_agree(encoder: Encoder) -> None:
    mug, other, again = encoder.encode_texts(["a red mug", "two children fly a kite", "a red mug"])
    assert mug @ other < 0.9999
    assert mug @ again > 0.99999
    gradient, stripes = encoder.encode_images(golden_images()[:2])
    assert gradient @ stripes < 0.99999


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV", "F", "I;16"]
)
def test_pictures_of_any_mode(encoder: Encoder, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16)
    else:
        image = golden_images()[0].convert(mode)
    np.testing.assert_allclose(np.linalg.norm(encoder.encode_images([image])), 1, atol=1e-5)


@pytest.mark.parametrize("mode", ["RGBA", "RGBa", "P", "RGB"])
def test_transparency_is_shown_on_white(encoder: Encoder, mode: str) -> None:
    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    clear.paste((200, 30, 30, 255), (10, 10, 30, 30))
    if mode == "RGB":  # one colour declared transparent, as PNG can
        clear = clear.convert("RGB")
        clear.info["transparency"] = (0, 0, 0)
    elif mode != "RGBA":
        clear = clear.quantize(4) if mode == "P" else clear.convert(mode)
    shown = Image.new("RGB", (40, 40), "white")
    shown.paste((200, 30, 30), (10, 10, 30, 30))
    assert clear.mode == mode
    np.testing.assert_allclose(encoder.encode_images([clear]), encoder.encode_images([shown]), atol=1e-5)


opened: list[tuple[str, object]] = []
watching = False


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if watching and event in ("open", "os.open", "socket.connect", "socket.getaddrinfo"):
        opened.append((event, arguments[0]))


sys.addaudithook(watch)  # sees every way of opening; it cannot be removed again, so a flag decides


def test_a_text_is_a_text_whatever_it_looks_like(encoder: Encoder, tmp_path: Path) -> None:
    global watching
    canary = tmp_path / "canary.png"
    golden_images()[0].save(canary)
    texts = ["http://127.0.0.1:9/x.png", str(canary), f"file://{canary}", "data:image/png;base64,AAAA", "x"]
    before = encoder.encode_texts(texts)
    opened.clear()
    watching = True
    try:
        vectors = encoder.encode_texts(texts)
        canary.read_bytes()
    finally:
        watching = False
    assert opened == [("open", str(canary))] or opened == [("open", canary)]  # by this test alone
    np.testing.assert_allclose(vectors, before, atol=1e-6)
    canary.unlink()
    np.testing.assert_allclose(encoder.encode_texts(texts), before, atol=1e-6)


def test_two_loads_are_the_same_encoder(encoder: Encoder, load: Callable[..., Encoder]) -> None:
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


@pytest.mark.parametrize("make", [tiny_open_clip, tiny_clip])
def test_golden_inputs_notice_other_weights_and_other_preprocessing(make: Callable[..., Path], tmp_path: Path) -> None:
    prefix = "open_clip:local-dir:" if make is tiny_open_clip else "hf:"
    stored = golden_vectors(load_encoder(f"{prefix}{make(tmp_path / 'first')}"))
    with pytest.raises(EncoderMismatchError, match=r"golden input \d has cosine"):
        check_golden(load_encoder(f"{prefix}{make(tmp_path / 'other', seed=1)}"), stored)
    changed = make(tmp_path / "changed")
    file = changed / ("open_clip_config.json" if make is tiny_open_clip else "preprocessor_config.json")
    config = json.loads(file.read_text())
    settings = config["preprocess_cfg"] if make is tiny_open_clip else config
    settings["mean" if make is tiny_open_clip else "image_mean"] = [0.1, 0.9, 0.1]
    file.write_text(json.dumps(config))
    with pytest.raises(EncoderMismatchError, match=r"golden input [4-7] has cosine"):  # the pictures
        check_golden(load_encoder(f"{prefix}{changed}"), stored)
