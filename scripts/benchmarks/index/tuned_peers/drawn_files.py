"""A drawn catalogue as files, which runners read: items, queries that tune, others to report on, exact scores."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from indexing.arrays import Rows, Vectors
from indexing.index.tuning.recall import GroundTruth, Queries
from scripts.benchmarks.index.catalogues import KINDS, drawn_catalogue

PARTS = ("tune", "report")


@dataclass(frozen=True)
class DrawnFiles:
    """The folder of a catalogue.

    Attributes:
        folder: Where its files are.
        items: (N, D) float32, mapped.
        truths: For each part and kind of query the exact answers.
        info: What was drawn, and how well it fits.
    """

    folder: Path
    items: Vectors
    truths: dict[tuple[str, str], GroundTruth]
    info: dict[str, Any]

    def queries(self, part: str, kind: str) -> Path:
        """Give the file of queries of a part and kind."""
        return self.folder / f"{part}_{kind}.npy"

    def recall(self, part: str, kind: str, rows: Rows) -> float:
        """Share of the exact best that (B, k) rows reach."""
        return self.truths[part, kind].recall(rows, self.items)


def draw_files(folder: Path, pairs: Path, count: int, queries: int, seed: int) -> DrawnFiles:
    """Open a catalogue of so many items and queries of each kind; draw it if it is not there."""
    place = folder / f"{count}-{queries}-{seed}"
    if not (place / "info.json").exists():
        drawn = drawn_catalogue(pairs, count, queries, seed)
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / "items.npy", drawn.items, allow_pickle=False)
        for part, by_kind in zip(PARTS, (drawn.tune, drawn.report), strict=True):
            for kind, truth in by_kind.items():
                np.save(place / f"{part}_{kind}.npy", truth.queries.vectors, allow_pickle=False)
                np.save(place / f"{part}_{kind}_exact.npy", truth.exact, allow_pickle=False)
        (place / "info.json").write_text(json.dumps(drawn.info))  # the last: a folder with it is whole
    items = np.load(place / "items.npy", mmap_mode="r", allow_pickle=False)
    truths = {
        (part, kind): GroundTruth(
            Queries(np.load(place / f"{part}_{kind}.npy", allow_pickle=False)),
            np.load(place / f"{part}_{kind}_exact.npy", allow_pickle=False),
        )
        for part in PARTS
        for kind in KINDS
    }
    return DrawnFiles(place, items, truths, json.loads((place / "info.json").read_text()))
