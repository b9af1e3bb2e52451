"""Names that are wrong or out of reach fail at once, with one message and a way out."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from indexing.encoders import load_encoder
from indexing.errors import EncoderError
from tests.tiny_models import tiny_clip

UNREACHABLE = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pockets", r"there is no encoder 'pockets', did you mean 'pocket'\?; known are pocket, open_clip:ARCH/TAG"),
        ("clip:ViT-B-32", "there is no encoder 'clip:ViT-B-32'.*known are pocket, open_clip:ARCH/TAG"),
        ("pocket:large", "there is no encoder 'pocket:large'"),
        ("open_clip:ViT-B-32/laion2b", "no pretrained model 'ViT-B-32/laion2b'; near it are ViT-B-32/laion2b_"),
        ("open_clip:local-dir:/nowhere", "/nowhere is no open_clip model: it has no open_clip_config.json"),
        ("hf:just-a-name", "neither a folder nor a model of the form ORG/REPO"),
    ],
)
def test_wrong_names(spec: str, message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        load_encoder(spec)


@pytest.mark.parametrize("spec", ["hf:nobody/no-such-model", "open_clip:hf-hub:nobody/no-such-model", "open_clip:ViT-B-32/openai"])
def test_an_unreachable_hub_is_one_message_within_seconds(spec: str, tmp_path: Path) -> None:
    code = "import sys; from retrieval.cli import main; main(sys.argv[1:])"
    arguments = ["build", str(tmp_path / "items.csv"), "--out", str(tmp_path / "out"), "--encoder", spec]
    (tmp_path / "items.csv").write_text("item_id,title\na,red mug\n")
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={"HF_ENDPOINT": UNREACHABLE, "HF_HOME": str(tmp_path / "cache"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "is not in the cache and the hub cannot be reached" in done.stderr
    assert "use 'pocket'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    # The bar is 5 s on an idle machine; imports alone may take longer than that on a busy one.
    assert time.perf_counter() - started < 30


def test_a_cached_model_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    made = tiny_clip(tmp_path / "made")
    revision = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "hub" / "models--someone--tiny"
    (repo / "snapshots").mkdir(parents=True)
    made.rename(repo / "snapshots" / revision)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(revision)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", UNREACHABLE)
    encoder = load_encoder("hf:someone/tiny")
    assert encoder.info.name == "hf:someone/tiny"
    assert encoder.encode_texts(["a red mug"]).shape == (1, 24)
    assert not constants.HF_HUB_OFFLINE
