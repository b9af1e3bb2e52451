"""Whatever reads a picture or a sound from anyone has it decoded by another process, within limits."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.diagnostics.inspect import inspect_catalogue
from indexing.diagnostics.inspect_page import inspection_page
from indexing.encoders import load_encoder
from indexing.errors import InputError
from indexing.media.images import ImageLimits
from indexing.store.shared_pool import thumbnail
from retrieval.evaluation import encoded_sides
from retrieval.evaluation.report.examples import cards_of
from retrieval.retriever.queries.media import Picture, open_pictures, open_sounds
from retrieval.retriever.retriever import Retriever
from tests.hostile import hostile_images
from tests.toy import ToyEncoder, picture

BOMBS = {name: data for name, data in hostile_images() if name in ("JPEG of 20,000 scans", "WebP of 39 megapixels")}


@pytest.fixture(autouse=True)
def _never_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process open no picture and no sound but what it made itself."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("decoded in the main process")

    monkeypatch.setattr("PIL.Image.open", refuse)
    monkeypatch.setattr("soundfile.SoundFile.__init__", refuse)


def photo() -> bytes:
    noise = np.random.default_rng(3).integers(0, 256, (6, 9, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((900, 600), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def catalogue(folder: Path) -> Catalogue:
    rows = [{"item_id": name, "title": name, "image": data} for name, data in {**BOMBS, "red": picture("red")}.items()]
    pq.write_table(pa.Table.from_pylist(rows), folder / "items.parquet")
    return Catalogue.open(folder / "items.parquet")


def test_query_pictures(tmp_path: Path) -> None:
    retriever = Retriever(build_bundle(catalogue(tmp_path), ToyEncoder(), tmp_path / "bundle"), ToyEncoder())
    assert retriever.search_images([picture("red", 20)], k=1)[0][0].item_id == "red"
    for name, data in BOMBS.items():
        with pytest.raises(InputError, match=r"query picture 1: image of .* is over"):
            retriever.search_images([picture("red"), data])
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=f"query picture 0: image of .*: {tmp_path / name}"):
            retriever.search_images([tmp_path / name])


def test_a_query_gets_the_pixels_of_a_build(tmp_path: Path) -> None:
    """The same file has the same vector as query and as item, here with a model whose form is known."""
    encoder = load_encoder("pocket")
    pq.write_table(pa.table({"item_id": ["a"], "image": [photo()]}), tmp_path / "items.parquet")
    bundle = build_bundle(Catalogue.open(tmp_path / "items.parquet"), encoder, tmp_path / "bundle")
    (hit,) = Retriever(bundle, encoder).search_images([photo()], k=1)[0]
    assert hit.score == pytest.approx(1, abs=1e-3)  # stored as float16


def test_query_pictures_of_several_kinds_keep_their_order() -> None:
    given: list[Picture] = [
        Image.new("RGB", (9, 9), "blue"),
        picture("red"),
        Image.new("RGB", (9, 9), "white"),
        picture("green"),
    ]
    opened = open_pictures(given, ToyEncoder())
    colours = [image.getpixel((0, 0)) for image in opened]
    assert opened[0] is given[0]
    assert [colour.index(max(colour)) for colour in colours if isinstance(colour, tuple)] == [2, 0, 0, 1]


class Hearing(ToyEncoder):
    audio_rate = 8_000

    def encode_audio(self, sounds: object) -> None:
        raise NotImplementedError


def test_query_sounds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    file = io.BytesIO()
    soundfile.write(file, np.full(4_000, 0.25, np.float32), 4_000, format="WAV", subtype="FLOAT")
    samples = np.zeros(5, np.float32)
    monkeypatch.setattr("soundfile.SoundFile.__init__", None)
    opened = open_sounds([samples, file.getvalue()], Hearing())  # type: ignore[arg-type]
    assert opened[0] is samples
    assert len(opened[1]) == 8_000
    np.testing.assert_allclose(opened[1][1000:7000], 0.25, atol=1e-3)  # resampled
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=f"query sound 1: sound is broken: .*{tmp_path / 'a.wav'}"):
        open_sounds([samples, tmp_path / "a.wav"], Hearing())  # type: ignore[arg-type]


def test_inspection_pages_and_evaluation(tmp_path: Path) -> None:
    source = catalogue(tmp_path)
    found = inspect_catalogue(source)
    assert found.image["usable"] == 1
    assert sorted(found.image["unusable"]["reasons"]) == [
        "image of N scans is over N scans",
        "image of N x N is over N pixels of a WEBP",
    ]
    assert inspection_page(found, source).count("data:image/jpeg") == 1
    cards = cards_of(["red", *BOMBS], {}, source)
    assert [name for name, card in cards.items() if card.picture] == ["red"]
    assert encoded_sides(source, ToyEncoder())["image"].item_ids == ("red",)


def test_thumbnails_fit_their_side() -> None:
    data = thumbnail(photo(), ImageLimits(), 120)
    assert data is not None
    height, width = (int.from_bytes(data[data.index(b"\xff\xc0") + place :][:2], "big") for place in (5, 7))
    assert (width, height) == (120, 80)
    assert thumbnail(b"none", ImageLimits(), 120) is None
