"""Texts that an encoder cannot tell apart are noticed, by its vectors and by the tokens that it does not know."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from indexing.arrays import Vectors
from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.text_separation import UNKNOWN, measure_text_separation
from indexing.catalogue.catalogue import Catalogue
from indexing.diagnostics.health import examine
from indexing.encoders import load_encoder
from indexing.encoders.pocket import PocketEncoder
from tests.cli_run import Run, runner
from tests.toy import ToyEncoder

CHINESE = ["红色的杯子", "蓝色的椅子", "绿色的灯", "白色的鞋子", "黄色的书", "黑色的猫"]
ENGLISH = ["red mug", "blue chair", "green lamp", "white shoe", "yellow book", "black cat"]
ALIKE = ["Red mug!", "Red  MUG", "Red, mug", "blue chair", "blue chair.", "green lamp"]  # the same letters


def csv(folder: Path, titles: Sequence[str]) -> Path:
    path = folder / "items.csv"
    path.write_text("item_id,title\n" + "".join(f'i{n},"{title}"\n' for n, title in enumerate(titles)))
    return path


class Deaf(ToyEncoder):
    """Hears the first letter alone."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return super().encode_texts([text[:1] for text in texts])


class Unsure(ToyEncoder):
    """Knows half of all tokens."""

    def unknown_share(self, texts: Sequence[str]) -> float:
        assert texts
        return 0.5


@pytest.fixture(scope="module")
def pocket() -> PocketEncoder:
    encoder = load_encoder("pocket")
    assert isinstance(encoder, PocketEncoder)
    return encoder


def finding(bundle: Bundle) -> tuple[bool, str, str]:
    (found,) = (one for one in examine(bundle) if one.name == "texts")
    return found.good, found.verdict, found.hint


def test_pocket_does_not_tell_chinese_apart(pocket: PocketEncoder, tmp_path: Path) -> None:
    bundle = build_bundle(Catalogue.open(csv(tmp_path, CHINESE)), pocket, tmp_path / "b")
    good, verdict, hint = finding(bundle)
    assert not good
    assert verdict.startswith("5 of 6 texts have nearly the vector of another, different text, e.g. '红色的杯子'")
    assert "unknown to the encoder" in verdict
    assert "open_clip:ViT-B-32-SigLIP2-256/webli" in hint
    assert bundle.manifest.counts[UNKNOWN] > 0.5


def test_pocket_tells_english_apart(pocket: PocketEncoder, tmp_path: Path) -> None:
    bundle = build_bundle(Catalogue.open(csv(tmp_path, ENGLISH)), pocket, tmp_path / "b")
    assert finding(bundle) == (True, "0 of 6 texts have nearly the vector of another, different text", "")
    assert bundle.manifest.counts[UNKNOWN] == 0.0


@pytest.mark.parametrize(("texts", "least", "most"), [(CHINESE, 0.5, 1.0), (ENGLISH, 0.0, 0.0), ([""], 0.0, 0.0)])
def test_pocket_says_what_share_it_does_not_know(
    pocket: PocketEncoder, texts: list[str], least: float, most: float
) -> None:
    assert least <= pocket.unknown_share(texts) <= most


GERMAN = ["rotes Haus mit Garten", "ein Baum am Weg", "Stuhl aus Holz", "Hose für den Sommer", "Becher", "Tasse"]
RUSSIAN = ["красный дом", "зелёное дерево", "синий стул", "чашка кофе", "белая рубашка", "mug"]
TITLES = ["La La Land", "Die Hard", "El Mariachi", "a mug with the moon", "lamp", "the red chair", "rug", "sofa bed"]


@pytest.mark.parametrize(("texts", "message"), [(GERMAN, "(de 4)"), (RUSSIAN, "(ru 5)"), (TITLES, ""), (ENGLISH, "")])
def test_texts_in_another_language_than_pocket_knows_are_noticed(
    texts: list[str], message: str, pocket: PocketEncoder, tmp_path: Path
) -> None:
    good, verdict, hint = finding(build_bundle(Catalogue.open(csv(tmp_path, texts)), pocket, tmp_path / "b"))
    assert (good, bool(hint)) == (not message, bool(message))
    assert verdict.endswith(
        f"seem not to be in English, which alone it knows {message}" if message else "different text"
    )


def test_any_encoder_is_measured(tmp_path: Path) -> None:
    titles = ["rug", "radio", "ring", "mug", "map", "moon"]
    measured = measure_text_separation(
        build_bundle(Catalogue.open(csv(tmp_path, titles)), Deaf(), tmp_path / "b"), np.random.default_rng(0)
    )
    assert measured is not None
    assert (measured.good, measured.texts, measured.similar, measured.pair, measured.unknown) == (
        False,
        6,
        6,
        ("rug", "radio"),
        None,
    )


def test_the_same_letters_are_no_different_text(tmp_path: Path) -> None:
    bundle = build_bundle(Catalogue.open(csv(tmp_path, ALIKE)), Deaf(), tmp_path / "b")
    measured = measure_text_separation(bundle, np.random.default_rng(0))
    assert measured is not None
    assert (measured.good, measured.similar, measured.pair) == (True, 0, ())


def test_many_unknown_tokens_are_enough(tmp_path: Path) -> None:
    bundle = build_bundle(Catalogue.open(csv(tmp_path, ENGLISH)), Unsure(), tmp_path / "b")
    good, verdict, _ = finding(bundle)
    assert (good, verdict.endswith("50% of their tokens are unknown to the encoder")) == (False, True)


def test_build_and_doctor_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.cli.commands.build.load_encoder", lambda *_, **__: Deaf())
    run: Run = runner(capsys)
    items = csv(tmp_path, ["rug", "radio", "ring", "mug", "map", "moon"])
    code, out, err = run("build", items, "--out", tmp_path / "b")
    assert code == 0
    assert "caution: 6 of 6 texts have nearly the vector of another, different text, e.g. 'rug', 'radio'" in out
    assert err.startswith("pocket is a small fall-back encoder")
    assert "--encoder open_clip:ViT-B-32-SigLIP2-256/webli" in err
    report = json.loads(run("build", items, "--out", tmp_path / "b", "--json")[1])
    assert report["cautions"][0].startswith("6 of 6 texts")
    assert "look: texts" in run("doctor", tmp_path / "b")[1]
    monkeypatch.setattr("retrieval.cli.commands.build.load_encoder", lambda *_, **__: ToyEncoder())
    code, out, err = run("build", items, "--out", tmp_path / "c", "--encoder", "toy")
    assert (code, "caution" in out, err) == (0, False, "")
