"""What is counted while a catalogue is inspected: a few bytes for each text and each picture, never they themselves."""

import re
from array import array
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from indexing.catalogue.cleaning import reason_kind
from indexing.catalogue.languages import guess_language
from indexing.diagnostics.near_duplicates import equal_groups, near_groups
from indexing.media.decode import Task, Unusable
from indexing.media.files import Kind
from indexing.media.images import PictureLimits, UnusablePicture, read_picture
from indexing.store.shared_pool import decode_all

EXAMPLES = 20
NUMBER = re.compile(r"\d+")
QUANTILES = {"min": 0.0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "max": 1.0}


@dataclass
class Keys:
    """64 bits a row, in the order of the rows: what is kept of a text or a picture to find it again."""

    rows: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[int]" = field(default_factory=lambda: array("Q"))

    def add(self, row: int, value: int) -> None:
        """Add those of one row."""
        self.rows.append(row)
        self.values.append(value)

    def equal(self) -> list[list[int]]:
        """Give the rows whose values come more than once, the largest groups first."""
        return self._rows(equal_groups(np.asarray(self.values, np.uint64)))

    def near(self) -> list[list[int]]:
        """Give the rows whose values differ in a few bits only, the largest groups first."""
        return self._rows(near_groups(np.asarray(self.values, np.uint64)))

    def _rows(self, groups: list[list[int]]) -> list[list[int]]:
        return [[self.rows[place] for place in group] for group in groups]


@dataclass
class Texts:
    """What the texts are like."""

    keys: Keys = field(default_factory=Keys)
    lengths: "array[int]" = field(default_factory=lambda: array("q"))
    languages: Counter[str] = field(default_factory=Counter)
    size: int = 0

    def add(self, row: int, text: str) -> None:
        """Count one text."""
        data = text.encode("utf-8", "replace")
        self.keys.add(row, _hash(data))
        self.lengths.append(len(text))
        self.languages[guess_language(text)] += 1
        self.size += len(data)


@dataclass
class Pictures:
    """What the pictures are like, each decoded once."""

    limits: PictureLimits
    keys: Keys = field(default_factory=Keys)
    looks: Keys = field(default_factory=Keys)
    widths: "array[int]" = field(default_factory=lambda: array("q"))
    heights: "array[int]" = field(default_factory=lambda: array("q"))
    sizes: "array[int]" = field(default_factory=lambda: array("q"))
    formats: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    unusable: list[dict[str, Any]] = field(default_factory=list)
    flat: int = 0

    def add(self, row: int, item_id: str, source: bytes | Path | None, problem: str | None) -> None:
        """Count one picture, or why it cannot be used."""
        try:
            if problem or source is None:
                raise UnusablePicture(problem or "image file is empty")
            data = read_picture(source, self.limits)
            self.keys.add(row, _hash(data))
            self.sizes.append(len(data))
            (seen,) = decode_all(Kind.IMAGE, [data], Task(pictures=self.limits, described=True))
            if isinstance(seen, Unusable):
                raise UnusablePicture(seen.reason)
        except UnusablePicture as error:
            self.reasons[NUMBER.sub("N", reason_kind(str(error)))] += 1  # or every size is a reason of its own
            if len(self.unusable) < EXAMPLES:
                self.unusable.append({"source_row": row, "item_id": item_id, "reason": str(error)})
            return
        self.widths.append(seen.described["width"])
        self.heights.append(seen.described["height"])
        self.formats[seen.described["format"]] += 1
        if (look := seen.described["look"]) is None:
            self.flat += 1
        else:
            self.looks.add(row, look)


def quantiles(values: "array[int]") -> dict[str, int]:
    """Give the quantiles of some values by name.

    >>> quantiles(array("q", [3, 1, 2]))["median"], quantiles(array("q"))
    (2, {})
    """
    if not values:
        return {}
    # Values that occur, not means of two: a picture is 3 pixels wide or 4.
    found = np.quantile(np.asarray(values), list(QUANTILES.values()), method="inverted_cdf")
    return dict(zip(QUANTILES, map(int, found), strict=True))


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
