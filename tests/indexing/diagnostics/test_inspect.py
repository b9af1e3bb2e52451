"""Inspecting a source: counts that are known by construction, groups of the same and the similar, and a safe page."""

import io
import json
import random
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import NamedColumns
from indexing.catalogue.languages import guess_language
from indexing.catalogue.readers.base import TableReader
from indexing.diagnostics.inspect import Inspection, inspect_catalogue
from indexing.diagnostics.inspect_counts import near_groups
from indexing.diagnostics.inspect_page import inspection_page
from indexing.errors import InputError
from indexing.media.images import difference_hash
from retrieval.cli import app
from tests.toy import picture


def noise(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A picture of a few soft blots, unlike those of other seeds."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def saved(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


CUT = saved(noise(1))[:-200]
HEADER = b"IHDR" + struct.pack(">IIBBBBB", 8_000, 6_000, 8, 2, 0, 0, 0)
HUGE = saved(noise(1))[:12] + HEADER + struct.pack(">I", zlib.crc32(HEADER)) + saved(noise(1))[33:]
ROWS: list[dict[str, object]] = [
    {"item_id": "a", "title": "a red mug with the moon", "image": saved(noise(1)), "audio": b"ring"},
    {"item_id": "b", "title": "a  red mug with the moon ", "image": saved(noise(1)), "audio": None},
    {"item_id": "c", "title": "eine Tasse mit dem Mond", "image": saved(noise(1), "JPEG", quality=80), "audio": b""},
    {"item_id": "a", "title": "there already", "image": None, "audio": None},
    {"item_id": "", "title": "x", "image": None, "audio": None},
    {"item_id": "d", "title": None, "image": None, "audio": b"a bell"},
    {"item_id": "e", "title": "<script>alert('e')</script> $title", "image": CUT, "audio": None},
    {"item_id": "f'<b>", "title": None, "image": HUGE, "audio": None},
    {"item_id": "g", "title": None, "image": picture("red", 9), "audio": None},
    {"item_id": "h", "title": "赤いマグ", "image": picture("blue", 9), "audio": None},
    {"item_id": "i", "title": None, "image": saved(noise(2, (100, 20)), "GIF"), "audio": None},
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "items.parquet", row_group_size=3)
    return tmp_path / "items.parquet"


@pytest.fixture
def found(source: Path) -> Inspection:
    return inspect_catalogue(Catalogue.open(source))


def ids(groups: list[list[dict[str, object]]]) -> list[list[object]]:
    return [[member["item_id"] for member in group] for group in groups]


def test_rows_and_coverage(found: Inspection, source: Path) -> None:
    report = Catalogue.open(source).report
    assert (found.rows, found.kept, found.rejected) == (report.rows, report.kept, report.rejected)
    assert (found.rows, found.kept) == (11, 9)
    assert found.rejected == {"duplicate item_id": 1, "blank item_id": 1}
    assert found.rejected_examples[0] == {
        "source_row": 3,
        "item_id": "a",
        "reason": "duplicate item_id: first in row 0",
    }
    assert found.coverage == {"text": 5, "image": 8, "audio": 2}
    assert found.audio == {"bytes": 10}
    assert sorted(found.sampled) == [0, 1, 2, 5, 6, 7, 8, 9, 10]


def test_texts(found: Inspection) -> None:
    assert found.text["language_guess"] == {"en": 2, "de": 1, "unknown": 1, "ja": 1}
    assert found.text["characters"] == {
        "min": 4, "5%": 4, "25%": 23, "median": 23, "75%": 23, "95%": 34, "max": 34
    }  # fmt: skip
    assert found.text["bytes"] == 23 + 23 + 23 + 34 + 12
    assert (found.text["duplicates"].groups, found.text["duplicates"].items) == (1, 2)
    assert ids(found.text["duplicates"].examples) == [["a", "b"]]


def test_pictures(found: Inspection) -> None:
    image = found.image
    assert image["formats"] == {"PNG": 4, "JPEG": 1, "GIF": 1}
    assert (image["usable"], image["without_detail"]) == (6, 2)
    assert image["width"] == {"min": 9, "5%": 9, "25%": 9, "median": 40, "75%": 40, "95%": 100, "max": 100}
    assert image["height"]["max"] == 30
    assert image["bytes"] == sum(len(row["image"]) for row in ROWS if isinstance(row["image"], bytes))
    assert image["unusable"]["reasons"] == {"image is broken": 1, "image of N x N is over N pixels": 1}
    assert [example["item_id"] for example in image["unusable"]["examples"]] == ["e", "f'<b>"]
    assert ids(image["duplicates"].examples) == [["a", "b"]]
    assert ids(image["near_duplicates"].examples) == [["a", "b", "c"]]


def test_a_limit_looks_at_the_first_rows_only(source: Path) -> None:
    found = inspect_catalogue(Catalogue.open(source), limit=5)
    assert (found.rows, found.kept, found.limit) == (5, 3, 5)
    with pytest.raises(InputError, match="0 rows cannot be looked at"):
        inspect_catalogue(Catalogue.open(source), limit=0)


def test_rows_that_cannot_be_read_are_counted_under_their_number(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\na,x\nb,x,y\nc,x\nd\ne,z\n")
    found = inspect_catalogue(Catalogue.open(tmp_path / "items.csv"))
    assert (found.rows, found.kept) == (5, 3)
    assert [example["source_row"] for example in found.rejected_examples] == [1, 3]
    assert found.text["duplicates"].examples == [[{"source_row": 0, "item_id": "a"}, {"source_row": 2, "item_id": "c"}]]
    assert inspect_catalogue(Catalogue.open(tmp_path / "items.csv"), limit=2).rows == 2


def test_ids_are_read_first_and_the_source_once_in_small_parts(tmp_path: Path) -> None:
    class Spy(TableReader):
        asked: list[tuple[tuple[str, ...], int]]

        def batches(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
            self.asked = [*getattr(self, "asked", []), (tuple(columns), size)]
            return super().batches(columns, size)

    spy = Spy("spy", pa.Table.from_pylist(ROWS))
    steps: list[int] = []
    inspect_catalogue(Catalogue(spy, None, tmp_path), progress=steps.append)
    assert spy.asked == [(("item_id",), 65_536), (("item_id", "title", "image", "audio"), 64)]


def test_a_sample_is_drawn_from_all_rows() -> None:
    table = pa.table({"item_id": [f"i{n}" for n in range(5000)], "title": ["t"] * 5000})
    steps: list[int] = []
    found = inspect_catalogue(Catalogue(TableReader("many", table), None, None), progress=steps.append)
    assert len(found.sampled) == 24
    assert min(found.sampled) < 1500
    assert max(found.sampled) > 3500
    assert sum(steps) > 4900
    assert (found.text["duplicates"].groups, found.text["duplicates"].items) == (1, 5000)
    assert len(found.text["duplicates"].examples[0]) == 6


def test_near_hashes_are_those_of_a_comparison_of_all_pairs() -> None:
    chance = random.Random(7)  # noqa: S311 - a test
    hashes = [chance.getrandbits(64) for _ in range(400)]
    for base in hashes[:200]:
        changed = base
        for bit in chance.sample(range(64), chance.randrange(8)):
            changed ^= 1 << bit
        hashes.append(changed)
    pairs = {
        frozenset((left, right))
        for left, first in enumerate(hashes)
        for right, second in enumerate(hashes[:left])
        if (first ^ second).bit_count() <= 4
    }
    groups = near_groups(np.array(hashes, np.uint64))
    assert {frozenset(group) for group in groups} == pairs
    assert near_groups(np.array([], np.uint64)) == []
    assert near_groups(np.zeros(9, np.uint64)) == [list(range(9))]
    chain = [0, 0b1111, 0b1111_1111, 1 << 60 | 1 << 50 | 1 << 40 | 1 << 30 | 1 << 20]
    assert near_groups(np.array(chain, np.uint64)) == [[0, 1, 2]]


def test_hashes_of_pictures() -> None:
    first, second = difference_hash(noise(3, (400, 300))), difference_hash(noise(4, (400, 300)))
    smaller = difference_hash(noise(3, (400, 300)).resize((160, 120)))
    assert first is not None
    assert second is not None
    assert smaller is not None
    assert (first ^ smaller).bit_count() <= 4
    assert (first ^ second).bit_count() > 12


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The cat sat on the mat and looked at it", "en"),
        ("Die Katze sitzt auf dem Tisch und schläft", "de"),
        ("Le chat est sur la table avec une tasse", "fr"),
        ("El gato está en la mesa con una taza", "es"),
        ("Il gatto è sul tavolo con una tazza nel sole", "it"),
        ("O gato está na mesa com uma xícara", "pt"),
        ("De kat zit op het bed en slaapt niet", "nl"),
        ("Katten är på bordet och sover inte", "sv"),
        ("Кошка сидит на столе", "ru"),
        ("Кішка сидить на столі", "uk"),
        ("猫坐在桌子上", "zh"),
        ("고양이가 앉아 있다", "ko"),
        ("القط على الطاولة", "ar"),
        ("SKU 4711 XXL", "unknown"),
        ("", "unknown"),
        ("100 µg", "unknown"),
    ],
)
def test_guesses_at_the_language(text: str, language: str) -> None:
    assert guess_language(text) == language


def test_the_page_is_closed_to_the_world_and_escapes_what_it_shows(source: Path) -> None:
    catalogue = Catalogue.open(source)
    page = inspection_page(inspect_catalogue(catalogue), catalogue)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#x27;e&#x27;)&lt;/script&gt; $title" in page
    assert "f'<b>" not in page
    assert "f&#x27;&lt;b&gt;" in page
    assert not re.findall(r"""(?:src|href)=['"](?!data:image/jpeg;base64,)""", page)
    pictures = re.findall(r"alt='([^']*)'", page)
    assert pictures == ["a", "b", "c", "g", "h", "i", "a", "b", "a", "b", "c", "a", "b"]
    assert "row 3: a</th><td>duplicate item_id: first in row 0" in page
    assert "image of 8000 x 6000 is over 40000000 pixels" in page


def test_the_command(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "new" / "page.html"
    result = CliRunner().invoke(app, ["inspect", str(source), "--json", "--html", str(page)])
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert (summary["rows"], summary["kept"], summary["coverage"]["image"]) == (11, 9, 8)
    assert summary["image"]["near_duplicates"]["items"] == 3
    assert page.read_text().startswith("<!doctype html>")
    result = CliRunner().invoke(app, ["inspect", str(source), "--limit", "3", "--id-column", "title"])
    assert result.exit_code == 0
    assert "3 (the first ones; --limit 3)" in result.stdout
    monkeypatch.chdir(tmp_path)
    source.rename("[red]items.parquet")
    result = CliRunner().invoke(app, ["inspect", "[red]items.parquet"])
    assert "[red]items.parquet" in result.stdout


def test_columns_that_are_not_found_by_name() -> None:
    table = pa.table({"sku": [1, 2], "label": ["x", "y"], "audio": ["a.wav", None]})
    columns = NamedColumns(item_id="sku", text=("label",))
    found = inspect_catalogue(Catalogue(TableReader("t", table), columns, None))
    assert found.coverage == {"text": 2, "image": 0, "audio": 1}
    assert found.image["width"] == {}


def test_what_gets_no_brighter_is_no_step_up() -> None:
    row = np.array([0, 90, 90, 200, 100, 100, 10, 250, 250], np.uint8)  # up, level, up, down, level, down, up, level
    found = difference_hash(Image.fromarray(np.tile(row, (8, 1))))
    assert found == int("10100010" * 8, 2)
