"""What the command line says of the columns of a source: which were taken, and which the encoder makes nothing of."""

import json
from pathlib import Path

import pytest

from indexing.bundle.build import not_embedded
from indexing.catalogue.columns import Columns
from indexing.encoders import base
from indexing.encoders.base import EncoderInfo
from indexing.media.files import Modality
from tests.cli_run import Run, runner
from tests.toy import ToyEncoder, picture

SILENT = "the encoder toy embeds no audio: clap:NAME does, and toy+clap:NAME does beside the rest"


@pytest.fixture(autouse=True)
def toy_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(spec: str, *, precision: str = "auto", bridge: bytes | None = None, **_: object) -> base.Encoder:
        assert (spec, precision, bridge) in (("toy", "auto", None), ("toy", "float32", None))
        return ToyEncoder()

    monkeypatch.setattr("retrieval.cli.commands.build.load_encoder", load)
    monkeypatch.setattr("retrieval.retriever.loaded_bundle.load_encoder", load)
    monkeypatch.setattr("retrieval.cli.commands.encoders.load_encoder", load)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, colour in {"a.png": "red", "b.png": "green", "c.png": "blue"}.items():
        (tmp_path / name).write_bytes(picture(colour))
    return tmp_path


def in_a_line(shown: str) -> str:
    return " ".join(shown.replace("│", " ").split())


def table(folder: Path, text: str, name: str = "items.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize(
    ("header", "options"),
    [
        ("sku,title,front,back", ("--image-column", "front", "--image-column", "back")),
        ("sku,title,image1,image2", ()),
        ("sku,title,image,other", ("--image-column", "image", "--image-column", "other", "--image-column", "image")),
    ],
)
def test_every_picture_of_an_item_is_used_and_said(
    folder: Path, run: Run, header: str, options: tuple[str, ...]
) -> None:
    source = table(folder, f"{header}\n1,mug,a.png,b.png\n2,cup,c.png,\n")
    code, out, _ = run("build", source, "--out", folder / "b", "--encoder", "toy", *options, "--json")
    report = json.loads(out)
    names = header.split(",")[2:]
    assert (code, report["embeddings"]) == (0, {"text": 2, "image": 2})
    assert report["encoding"]["encoded"] == 5  # two titles and three pictures
    assert report["columns"] == {"item_id": "sku", "text": ["title"], "image": names}
    assert (report["not_embedded"], report["without_embedding"]) == ({}, 0)
    code, out, _ = run("info", folder / "b")
    assert f"item_id: sku; texts: title; pictures: {', '.join(names)}" in in_a_line(out)
    _, out, _ = run("inspect", source, *options, "--json")
    assert json.loads(out)["columns"]["taken"] == {"item_id": "sku", "texts": "title", "pictures": ", ".join(names)}
    assert json.loads(out)["image"]["usable"] == 3
    _, out, _ = run("inspect", source, *options)
    assert f"pictures: {', '.join(names)}" in in_a_line(out)


def test_added_items_are_read_as_those_of_the_build(folder: Path, run: Run) -> None:
    source = table(folder, "sku,title,front,back\n1,mug,a.png,b.png\n")
    images = ("--image-column", "front", "--image-column", "back")
    assert run("build", source, "--out", folder / "b", "--encoder", "toy", *images)[0] == 0
    more = table(folder, "sku,title,front,back\n2,cup,b.png,c.png\n", "more.csv")
    code, out, _ = run("add", folder / "b", more, "--json")
    assert (code, json.loads(out)["added"], json.loads(out)["encoded"]) == (0, 1, 3)
    code, _, error = run("update", folder / "b", table(folder, "sku,front\n2,a.png\n", "new.csv"), "--id-column", "sku")
    assert (code, "were made of ['front']" in error) == (1, True)


def test_a_column_that_the_encoder_cannot_hear_is_named(folder: Path, run: Run) -> None:
    (folder / "a.wav").write_bytes(b"RIFF")
    source = table(folder, "id,title,audio\n1,mug,a.wav\n2,cup,\n")
    code, out, _ = run("build", source, "--out", folder / "b", "--encoder", "toy", "--json")
    assert (code, json.loads(out)["not_embedded"]) == (0, {"audio": SILENT})
    for command in (("info", folder / "b"), ("build", source, "--out", folder / "b", "--encoder", "toy")):
        assert f"not encoded audio: {SILENT}" in in_a_line(run(*command)[1])
    more = table(folder, "id,title,audio\n3,lamp,a.wav\n", "more.csv")
    assert json.loads(run("add", folder / "b", more, "--json")[1])["not_embedded"] == {"audio": SILENT}
    assert "not encoded: column audio" in run("add", folder / "b", more, "--upsert")[1]


def test_items_of_which_nothing_is_encoded_are_counted(folder: Path, run: Run) -> None:
    source = table(folder, "id,title,audio\n1,mug,\n2,,a.wav\n")
    _, out, _ = run("build", source, "--out", folder / "b", "--encoder", "toy", "--json")
    assert (json.loads(out)["items"], json.loads(out)["without_embedding"]) == (1, 1)
    assert "1 item, which nothing finds" in run("info", folder / "b")[1]
    alone = table(folder, "id,audio\n2,a.wav\n", "alone.csv")
    code, _, error = run("build", alone, "--out", folder / "c", "--encoder", "toy")
    assert (code, f"could be encoded; audio: {SILENT}" in error) == (1, True)


EVERYTHING = Columns("id", ("title",), ("front", "back"), audio="sound", video="film", vectors=("text_vector",))


@pytest.mark.parametrize(
    ("name", "modalities", "columns"),
    [
        ("pocket", (Modality.TEXT, Modality.IMAGE), {"text_vector", "sound"}),
        ("st:x", (Modality.TEXT,), {"text_vector", "front", "back", "film", "sound"}),
        ("clap:x", (Modality.TEXT, Modality.AUDIO), {"text_vector", "front", "back", "film"}),
        ("pocket+clap:x", tuple(Modality), {"text_vector"}),
        ("vectors:", (Modality.TEXT,), {"front", "back", "film", "sound"}),
    ],
)
def test_each_encoder_names_what_it_leaves(name: str, modalities: tuple[Modality, ...], columns: set[str]) -> None:
    assert not_embedded(EVERYTHING, EncoderInfo(name, 2, modalities, "")).keys() == columns


@pytest.mark.parametrize("name", ["filename", "Path"])
def test_a_name_of_a_file_that_became_an_id_is_said(folder: Path, run: Run, name: str) -> None:
    source = table(folder, f"{name},caption\na.png,mug\n")
    _, out, _ = run("build", source, "--out", folder / "b", "--encoder", "toy")
    text = in_a_line(out)
    assert f"item_id: {name}; texts: caption; pictures: {name}" in text
    assert f"{name} taken for the item_id, as there is no other column of ids" in text


def test_a_table_without_ids_is_refused_in_the_words_of_the_command_line(folder: Path, run: Run) -> None:
    code, _, error = run("build", table(folder, "code,title\n1,mug\n"), "--out", folder / "b", "--encoder", "toy")
    assert (code, "among ['code', 'title']; name it with --id-column" in error) == (1, True)


@pytest.mark.parametrize("option", ["--where", "--profile"])
@pytest.mark.parametrize("value", ["title = \udce9", "ti\udce9tle = x", "title=\udcff, year=3"])
def test_bytes_that_are_no_utf8_are_refused_on_the_command_line(
    folder: Path, run: Run, option: str, value: str
) -> None:
    source = table(folder, "id,title\n1,mug\n2,cup\n")
    assert run("build", source, "--out", folder / "b", "--encoder", "toy")[0] == 0
    history = ("--history", "1") if option == "--where" else ()
    code, _, error = run("recommend", folder / "b", *history, option, value)
    assert code in (1, 2)
    assert "holds half a character; give text that is Unicode" in error
