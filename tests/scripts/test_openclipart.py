"""Titles out of real metadata and file names, and files that are not what they seem."""

from pathlib import Path

import pytest
from PIL import Image

from scripts.openclipart import Drawing, clean_title, held_out, read_drawings

SVG = """<svg><metadata><rdf:RDF><cc:Work><dc:title>{title}</dc:title><dc:subject><rdf:Bag>
<rdf:li>Fruit</rdf:li><rdf:li>red_food</rdf:li><rdf:li>fruit</rdf:li></rdf:Bag></dc:subject>
<dc:creator><cc:Agent><dc:title>{creator}</dc:title></cc:Agent></dc:creator></cc:Work></rdf:RDF></metadata></svg>"""


@pytest.mark.parametrize(
    ("raw", "title"),
    [
        ("red_mug_02", "red mug"),
        ("star_67pt11step", "star"),
        ("arrow08_3", "arrow"),
        ("bus2", "bus"),
        ("CoffeeCup", "Coffee Cup"),
        ("gnome-fs-trash-empty", "gnome fs trash empty"),
        ("Etiquette Printer", "Etiquette Printer"),
        ("LED Rectangular H (Green)", "LED Rectangular H Green"),
        ("BRAZIL FLAG", "Brazil flag"),
        ("Clipart by Steve Hall United States", "United States"),
        ("apple.svg", "apple"),
        ("Jonathon&#39;s Duck", "Jonathon's Duck"),
        ("viewmag+", "viewmag"),
        ("layer1", ""),
        ("Layer 1", ""),
        ("path1234", ""),
        ("untitled", ""),
        ("12", ""),
        ("x", ""),
        ("", ""),
    ],
)
def test_titles(raw: str, title: str) -> None:
    assert clean_title(raw) == title


def collection(root: Path, files: dict[str, str | bytes]) -> list[Drawing]:
    for name, svg in files.items():
        for kind in ("png", "svg"):
            (root / kind / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / "png" / f"{name}.png")
        (root / "svg" / f"{name}.svg").write_bytes(svg if isinstance(svg, bytes) else svg.encode())
    return list(read_drawings(root))


def test_title_and_keywords_come_from_the_metadata(tmp_path: Path) -> None:
    (drawing,) = collection(tmp_path, {"food/mela_01": SVG.format(title="A red apple", creator="Ann Other")})
    assert (drawing.drawing_id, drawing.category) == ("food/mela_01", "food")
    assert drawing.title == "A red apple"
    assert drawing.keywords == ("fruit", "red food")


def test_a_title_that_a_whole_collection_shares_gives_way_to_the_file_name(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        f"shapes/{name}_ann_oth_0{n}": SVG.format(title="Ann's art", creator="Ann Other")
        for n, name in enumerate(("star", "moon", "sun", "cube", "cone", "ring", "disc"))
    }
    assert [drawing.title for drawing in collection(tmp_path, files)] == sorted(
        ["star", "moon", "sun", "cube", "cone", "ring", "disc"]
    )


BOMB = b"""<!DOCTYPE svg [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><svg><dc:title>&b;"""


@pytest.mark.parametrize("svg", [BOMB, b"<svg><metadata><dc:title>cut sho", b"\xff\xfe\x00\x01", b""])
def test_broken_and_hostile_files_fall_back_to_the_file_name(tmp_path: Path, svg: bytes) -> None:
    (drawing,) = collection(tmp_path, {"food/green_pear_03": svg})
    assert (drawing.title, drawing.keywords) == ("green pear", ())


def test_text_that_was_encoded_twice_is_mended(tmp_path: Path) -> None:
    twice = SVG.format(title="Lézard", creator="").encode().decode("latin-1").encode()
    (drawing,) = collection(tmp_path, {"animals/l_01": twice})
    assert drawing.title == "Lézard"


def test_splits_depend_on_the_title_alone() -> None:
    splits = [held_out(f"title {n}") for n in range(3000)]
    assert held_out("Red Mug") == held_out("red mug")
    assert splits.count("test") == pytest.approx(300, abs=60)
    assert splits.count("valid") == pytest.approx(300, abs=60)
