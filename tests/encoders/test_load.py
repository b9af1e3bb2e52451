"""Names that are wrong fail at once, with one message and a way out."""

import pytest

from indexing.encoders import load_encoder
from indexing.errors import EncoderError


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
