"""Names that are wrong fail at once, with one message and a way out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from indexing.encoders import load_encoder
from indexing.errors import EncoderError
from tests.tiny_models import SIDE, tiny_chinese_clip, tiny_clap, tiny_clip, tiny_siglip

LARGER, SMALLER = ({"height": side, "width": side} for side in (2 * SIDE, SIDE // 2))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pockets", r"there is no encoder 'pockets', did you mean 'pocket'\?; known are pocket, open_clip:ARCH/TAG"),
        ("clip:ViT-B-32", "there is no encoder 'clip:ViT-B-32'.*known are pocket, open_clip:ARCH/TAG"),
        ("pocket:large", "there is no encoder 'pocket:large'"),
        ("open_clip:ViT-B-32/laion2b", "no pretrained model 'ViT-B-32/laion2b'; near it are ViT-B-32/laion2b_"),
        ("open_clip:local-dir:/nowhere", "/nowhere is no open_clip model: it has no open_clip_config.json"),
        (
            "open_clip:ViT-B-32/openai",
            "another activation than ViT-B-32 has: load 'open_clip:ViT-B-32-quickgelu/openai'",
        ),
        ("hf:just-a-name", "'just-a-name' is neither a folder nor a model of the form ORG/REPO"),
        ("hf:/nowhere/at/all", "'/nowhere/at/all' is neither a folder nor a model"),
        ("open_clip:hf-hub:just-a-name", "'just-a-name' is neither a folder nor a model of the form ORG/REPO"),
    ],
)
def test_wrong_names(spec: str, message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        load_encoder(spec)


@pytest.mark.parametrize(
    ("prefix", "make", "file", "change", "message"),
    [
        ("hf:", tiny_clip, "preprocessor_config.json", {"crop_size": LARGER}, r"pictures .*\(64\*64\).*\(32\*32\)"),
        (
            "hf:",
            tiny_clip,
            "preprocessor_config.json",
            {"crop_size": {"height": 16, "width": 16}},
            r"pictures .*16\*16",
        ),
        ("hf:", tiny_chinese_clip, "preprocessor_config.json", {"size": LARGER, "crop_size": LARGER}, "pictures"),
        ("hf:", tiny_siglip, "preprocessor_config.json", {"size": LARGER}, "pictures"),
        ("clap:", tiny_clap, "preprocessor_config.json", {"feature_size": 32}, "sounds"),
    ],
)
def test_a_model_and_its_preprocessing_that_do_not_fit_are_refused_when_it_is_loaded(
    tmp_path: Path, prefix: str, make: Callable[[Path], Path], file: str, change: dict[str, Any], message: str
) -> None:
    path = make(tmp_path / "model") / file
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | change))
    wanted = f"cannot embed the {message}.*take the model and its preprocessing from the same release"
    with pytest.raises(EncoderError, match=wanted):
        load_encoder(f"{prefix}{tmp_path / 'model'}")
