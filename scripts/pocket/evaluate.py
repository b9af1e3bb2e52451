"""Judge the shipped encoder: find each picture by its title, among pictures it was never trained on.

    python -m scripts.pocket.evaluate [--openclipart DIR] [--stamps DIR] [--photos packages] [--split test]

Drawings: titles of a split, at least 3 letters long and on at most 2 pictures; stamps: Tux Paint's photographs and
drawings without its symbols; photographs: see `scripts.pocket.photos`, alone and among the drawings. Any picture with
the same title counts as right. Nothing is chosen by these numbers but by those of `--split valid`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from indexing.arrays import Vectors
from indexing.encoders import Encoder, load_encoder
from scripts.pocket.captions import Pictured, drawings, stamps
from scripts.pocket.photos import photos
from scripts.pocket.prepare import load

SHORTEST_TITLE, MOST_OF_A_TITLE = 3, 2
BATCH = 64
RESULT = Path("scripts/benchmarks/results/pocket_quality.json")


def main() -> None:
    """Print and keep recall at 1 and 10, with 95 % bootstrap intervals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--openclipart", type=Path, default=Path("/usr/share/openclipart"))
    parser.add_argument("--stamps", type=Path, default=Path("/usr/share/tuxpaint/stamps"))
    parser.add_argument("--photos", type=Path, default=Path("packages"), help="wheels that photographs come in")
    parser.add_argument("--split", choices=("valid", "test"), default="test")
    given = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = None
    encoder = load_encoder("pocket")
    drawn = [
        one
        for one in drawings(given.openclipart)
        if one.split == given.split and len(one.title) >= SHORTEST_TITLE and one.series <= MOST_OF_A_TITLE
    ]
    stamped = stamps(given.stamps)
    others = look(encoder, drawn)
    report = {
        f"drawings, {given.split}": recalls(encoder, [one.title for one in drawn], others),
        "stamps": recalls(encoder, [one.title for one in stamped], look(encoder, stamped)),
    }
    images, captions = zip(*photos(given.photos), strict=True)
    seen = encoder.encode_images(images)
    report["photographs"] = recalls(encoder, captions, seen)
    report["photographs among the drawings"] = recalls(encoder, captions, np.concatenate([seen, others]))
    print(json.dumps(report, indent=2))
    if given.split == "test":
        RESULT.write_text(json.dumps({"fingerprint": encoder.info.fingerprint, **report}, indent=2) + "\n")


def look(encoder: Encoder, pictured: Sequence[Pictured]) -> Vectors:
    """Embed pictures, few in memory at a time: (N, D) float32."""
    batches = [pictured[start : start + BATCH] for start in range(0, len(pictured), BATCH)]
    return np.concatenate([encoder.encode_images([load(one.path) for one in batch]) for batch in batches])


def recalls(encoder: Encoder, titles: Sequence[str], images: Vectors) -> dict[str, object]:
    """Recall at 1 and 10 of finding a picture by its title; pictures (N, D) beyond the titles have none."""
    named = np.array([*titles, *[""] * (len(images) - len(titles))])
    scores = encoder.encode_texts(titles) @ images.T
    order = np.argsort(-scores, axis=1, kind="stable")
    first = (named[order] == named[: len(titles), None]).argmax(axis=1)
    found: dict[str, object] = {"texts": len(titles), "pictures": len(images)}
    for k in (1, 10):
        hits = (first < k).astype(float)
        means = np.random.default_rng(0).choice(hits, (2000, len(hits))).mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        found[f"recall@{k}"] = {"mean": round(hits.mean(), 4), "low": round(low, 4), "high": round(high, 4)}
    return found


if __name__ == "__main__":
    main()
