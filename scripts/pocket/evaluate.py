"""Judge the shipped encoder: find each picture by its title, among pictures it was never trained on.

    python -m scripts.pocket.evaluate [--openclipart DIR] [--stamps DIR] [--split test]

Drawings: titles of a split, at least 3 letters long and on at most 2 pictures; stamps: Tux Paint's photographs and
drawings without its symbols. Any picture with the same title counts as right. Nothing is chosen by these numbers but
by those of `--split valid`.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from indexing.encoders import Encoder, load_encoder
from scripts.pocket.captions import Pictured, drawings, stamps
from scripts.pocket.prepare import load

SHORTEST_TITLE, MOST_OF_A_TITLE = 3, 2
RESULT = Path("scripts/benchmarks/results/pocket_quality.json")


def main() -> None:
    """Print and keep recall at 1 and 10, with 95 % bootstrap intervals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--openclipart", type=Path, default=Path("/usr/share/openclipart"))
    parser.add_argument("--stamps", type=Path, default=Path("/usr/share/tuxpaint/stamps"))
    parser.add_argument("--split", choices=("valid", "test"), default="test")
    given = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = None
    encoder = load_encoder("pocket")
    judged = {
        f"drawings, {given.split}": [
            one
            for one in drawings(given.openclipart)
            if one.split == given.split and len(one.title) >= SHORTEST_TITLE and one.series <= MOST_OF_A_TITLE
        ],
        "stamps": stamps(given.stamps),
    }
    report = {name: recalls(encoder, pictured) for name, pictured in judged.items()}
    print(json.dumps(report, indent=2))
    if given.split == "test":
        RESULT.write_text(json.dumps({"fingerprint": encoder.info.fingerprint, **report}, indent=2) + "\n")


def recalls(encoder: Encoder, pictured: list[Pictured]) -> dict[str, object]:
    """Recall at 1 and 10 of finding a picture by its title among all of them."""
    images = np.concatenate(
        [encoder.encode_images([load(one.path) for one in pictured[n : n + 64]]) for n in range(0, len(pictured), 64)]
    )
    titles = np.array([one.title for one in pictured])
    scores = encoder.encode_texts(titles.tolist()) @ images.T
    order = np.argsort(-scores, axis=1, kind="stable")
    first = (titles[order] == titles[:, None]).argmax(axis=1)
    found: dict[str, object] = {"pictures": len(pictured)}
    for k in (1, 10):
        hits = (first < k).astype(float)
        means = np.random.default_rng(0).choice(hits, (2000, len(hits))).mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        found[f"recall@{k}"] = {"mean": round(hits.mean(), 4), "low": round(low, 4), "high": round(high, 4)}
    return found


if __name__ == "__main__":
    main()
