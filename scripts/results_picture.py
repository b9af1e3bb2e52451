"""One picture of what the demo's bundle answers: by text, by item and by history.

    make demo
    python -m scripts.results_picture demo/bundle --out docs/results.png

Drawings are those of the sample: Open Clip Art, public domain. Titles are left out; `make demo` prints them.
"""

import argparse
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from retrieval import Candidates, Retriever
from scripts.drawings import Drawing, read_drawings

TEXTS = ("a slice of fruit", "a sailing boat")
ITEM, HISTORY = "cello", ("mug", "croissant")
SHOWN, SIDE, GAP, LEFT = 6, 84, 10, 250
COLOURS = 96


def main() -> None:
    """Ask, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle of the sample, after fit")
    parser.add_argument("--out", type=Path, required=True, help="PNG file")
    given = parser.parse_args()
    retriever, drawings = Retriever.open(given.bundle), read_drawings()
    lines: list[tuple[str, Sequence[str], Candidates]] = [
        *((f"text: “{text}”", (), retriever.search_texts([text], SHOWN)) for text in TEXTS),
        ("items like", (ITEM,), retriever.similar_items([ITEM], SHOWN)),
        ("for who liked", HISTORY, retriever.recommend([HISTORY], SHOWN)),
    ]
    sheet = Image.new("RGB", (LEFT + SHOWN * (SIDE + GAP) + GAP, len(lines) * (SIDE + GAP) + GAP), "white")
    for place, (label, asked, found) in enumerate(lines):
        top = GAP + place * (SIDE + GAP)
        row(sheet, top, label, [drawings[item_id] for item_id in asked], [drawings[hit.item_id] for hit in found[0]])
    sheet.quantize(COLOURS).save(given.out, optimize=True)


def row(sheet: Image.Image, top: int, label: str, asked: Sequence[Drawing], found: Sequence[Drawing]) -> None:
    """Draw one list: what was asked at the left, answers from the best at the right of it."""
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, top + SIDE // 2 - 8), label, fill="black", font=ImageFont.load_default(16))
    small = SIDE * 3 // 5
    for place, drawing in enumerate(reversed(asked), start=1):
        sheet.paste(tile(drawing, small), (LEFT - place * (small + GAP) - GAP, top + (SIDE - small) // 2))
    pen.line((LEFT - GAP, top, LEFT - GAP, top + SIDE), fill="lightgrey")
    for place, drawing in enumerate(found):
        sheet.paste(tile(drawing, SIDE), (LEFT + place * (SIDE + GAP), top))


def tile(drawing: Drawing, side: int) -> Image.Image:
    """Fit a drawing into a white square."""
    with Image.open(BytesIO(drawing.picture)) as picture:
        small = picture.convert("RGBA")
    small.thumbnail((side, side))
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(small, ((side - small.width) // 2, (side - small.height) // 2))
    return square.convert("RGB")


if __name__ == "__main__":
    main()
