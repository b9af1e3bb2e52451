"""Make the sample that ships with the package: drawings from Open Clip Art, and simulated users.

    apt-get install openclipart-svg openclipart-png
    python -m scripts.prepare_sample [--openclipart /usr/share/openclipart] [--out indexing/data/sample]

The same files come out each time. Half of the drawings carry titles that the pocket encoder was not trained on.
"""

import argparse
import hashlib
import io
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from indexing.media.images import to_rgb
from scripts.openclipart import Drawing, held_out, read_drawings
from scripts.simulate_users import simulate

SEED = 0
DRAWINGS = 2000
SIDE = 160
SAME_TITLE = 8
SAME_FOLDER = 160
MOST_PIXELS = 40_000_000
BLANK_BELOW = 6.0  # standard deviation of the grey values of a picture that shows next to nothing
LICENCE = "Open Clip Art, public domain; titles cleaned, pictures scaled down"

# Trademarks, portraits of politicians, arms, pictures of patterns, icons of programs, series of near-identical signs.
LEFT_OUT = re.compile(
    r"^(logos|special|shapes/stars|computer/buttons|people/(famous|politic\w*|juliane)|tools/weapons|"
    r"signs_and_symbols/(led|flags/(europe/germany|usa|united_states)|political)|recreation/games/cards|"
    r"people/stickmen|computer/icons/.*(app(lication)?s/|kde|gnome|microsoft|windows|aim|msn|yahoo|icq|jabber|google))"
)
# Programs' own marks, and drawings of which only a message about a missing picture was left.
UNSUITABLE = re.compile(
    r"(?i)\b(firefox|mozilla|netscape|gimp|blender|inkscape|debian|gnome|kde|stylized yoga person)\b"
)
OFFENSIVE = re.compile(
    r"(?i)\b(nazi|hitler|swastika|sex\w*|nude|naked|kill\w*|gun|rifle|pistol|drug\w*|bush|blood\w*)\b"
)
# Keywords that name a collection, an author or a mishap instead of what is shown.
NO_KEYWORDS = {"hash", "lemon theme icon", "architetto francesco rollandin"}
NAME = re.compile(r"[A-Za-z][A-Za-z' -]*[A-Za-z]")


def main() -> None:
    """Write items.parquet and interactions.parquet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--openclipart", type=Path, default=Path("/usr/share/openclipart"))
    parser.add_argument("--out", type=Path, default=Path("indexing/data/sample"))
    arguments = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = None  # sizes are checked before decoding
    chosen = choose(list(read_drawings(arguments.openclipart)))
    items = items_table(chosen)
    write(items, arguments.out / "items.parquet", {"licence": LICENCE})
    log = simulate(items.select(["item_id", "keywords", "category"]), seed=SEED)
    write(log, arguments.out / "interactions.parquet", {"note": "SIMULATED users, no person stands behind them"})
    print(f"{len(items)} drawings, {Counter(items['split'].to_pylist())}; {len(log)} simulated interactions")
    print(f"{sum(path.stat().st_size for path in arguments.out.glob('*.parquet')) / 1e6:.1f} MB")


def choose(drawings: list[Drawing]) -> list[tuple[Drawing, bytes]]:
    """Choose drawings that show something, half of them with held-out titles, in a shuffled but fixed order."""
    random.Random(SEED).shuffle(drawings)  # noqa: S311 - a sample, not a secret
    seen: set[str] = set()
    unseen: list[tuple[Drawing, bytes]] = []
    trained: list[tuple[Drawing, bytes]] = []
    for drawing in presentable(drawings):
        side = trained if held_out(drawing.title) == "train" else unseen
        if len(side) >= DRAWINGS // 2:
            continue
        picture = thumbnail(drawing.picture)
        digest = hashlib.sha256(picture or b"").hexdigest()
        if picture is not None and digest not in seen:
            seen.add(digest)
            side.append((drawing, picture))
    return sorted([*unseen, *trained[: len(unseen)]], key=lambda pair: pair[0].drawing_id)


def presentable(drawings: Iterable[Drawing]) -> Iterator[Drawing]:
    """Leave out what has no readable title, is not for everybody, or repeats itself too often."""
    titles, folders = Counter[str](), Counter[str]()
    for drawing in drawings:
        title, folder = drawing.title.lower(), drawing.drawing_id.rpartition("/")[0]
        if LEFT_OUT.match(drawing.drawing_id) or OFFENSIVE.search(f"{title} {' '.join(drawing.keywords)}"):
            continue
        if UNSUITABLE.search(title):
            continue
        if not NAME.fullmatch(drawing.title) or len(title) < 3 or len(title) > 60:
            continue
        titles[title] += 1
        folders[folder] += 1
        if titles[title] <= SAME_TITLE and folders[folder] <= SAME_FOLDER:
            yield drawing


def thumbnail(path: Path) -> bytes | None:
    """Give a picture on white, at most 160 pixels a side, as WebP; None when it is huge or shows nothing."""
    with Image.open(path) as image:
        if image.width * image.height > MOST_PIXELS or min(image.size) < 16:
            return None
        layered = image.convert("RGBA")
    layered.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    flat = to_rgb(layered)
    if np.asarray(flat.convert("L"), np.float32).std() < BLANK_BELOW:
        return None
    file = io.BytesIO()
    flat.save(file, "WEBP", quality=82, method=6)
    return file.getvalue()


def items_table(chosen: list[tuple[Drawing, bytes]]) -> pa.Table:
    """Give the chosen drawings as a table, with readable ids: red-mug, red-mug-2, …."""
    used = Counter[str]()
    rows = []
    for drawing, picture in chosen:
        slug = re.sub(r"[^a-z]+", "-", drawing.title.lower()).strip("-")
        used[slug] += 1
        rows.append(
            {
                "item_id": slug if used[slug] == 1 else f"{slug}-{used[slug]}",
                "title": drawing.title,
                "keywords": [word for word in drawing.keywords if NAME.fullmatch(word) and word not in NO_KEYWORDS],
                "category": drawing.category.replace("_", " "),
                "image": picture,
                "split": held_out(drawing.title),
            }
        )
    return pa.Table.from_pylist(rows)


def write(table: pa.Table, path: Path, notes: dict[str, str]) -> None:
    """Write a table as Parquet with notes in its metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(notes), path, compression="zstd", row_group_size=256)


if __name__ == "__main__":
    main()
