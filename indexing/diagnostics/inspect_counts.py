"""What is counted while a catalogue is inspected: a few bytes for each text and each picture, never they themselves."""

import re
from array import array
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from indexing.catalogue.cleaning import reason_kind
from indexing.catalogue.languages import guess_language
from indexing.media.decode import Task, Unusable
from indexing.media.files import FileSource, Kind
from indexing.media.images import ImageLimits, UnusableImage, read_picture
from indexing.store.shared_pool import decode_all

DISTANCE = 4
BANDS = 6  # with at most 4 bits that differ, at least 2 of 6 bands are equal
MAX_NEIGHBOURS = 128  # compared within a bucket; only thousands of pictures with hardly any detail share one
Places = npt.NDArray[np.intp]
Hashes = npt.NDArray[np.uint64]


def near_groups(hashes: Hashes, distance: int = DISTANCE) -> list[list[int]]:
    """Group the places of hashes that are within a few bits of each other, or of a third one in between.

    >>> near_groups(np.array([0, 2**64 - 1, 1, 3, 2**40 - 1], np.uint64), 1)
    [[0, 2, 3]]
    """
    values, inverse = np.unique(hashes, return_inverse=True)
    group_of = np.arange(len(values))
    for keys in _band_pairs(values):
        group_of = _join_groups(group_of, values, keys, distance)
    return equal_groups(group_of[inverse])


def equal_groups(values: Hashes | Places) -> list[list[int]]:
    """Group the places of equal values, the largest groups first; a value that comes once is in none.

    >>> equal_groups(np.array([7, 8, 9, 8, 7, 8]))
    [[1, 3, 5], [0, 4]]
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.append(len(values) > 0, ordered[1:] != ordered[:-1]))
    sizes = np.diff(np.append(starts, len(values)))
    repeated = sizes > 1
    groups = [
        order[start : start + size].tolist() for start, size in zip(starts[repeated], sizes[repeated], strict=True)
    ]
    return sorted(groups, key=lambda group: (-len(group), group))


def _band_pairs(values: Hashes) -> list[Hashes]:
    """Return for every two bands the bits of both: whoever is close to a hash shares one of these with it."""
    edges = np.linspace(0, 64, BANDS + 1).astype(int)
    masks = [((1 << int(end)) - 1) ^ ((1 << int(start)) - 1) for start, end in pairwise(edges)]
    return [values & np.uint64(first | second) for first, second in combinations(masks, 2)]


def _join_groups(group_of: Places, values: Hashes, keys: Hashes, distance: int) -> Places:
    """Join the groups of close hashes that share a key, comparing each with the next ones in sorted order."""
    order = np.argsort(keys, kind="stable")
    ordered, hashes = keys[order], values[order]
    active = np.arange(len(values))
    for step in range(1, MAX_NEIGHBOURS + 1):
        active = active[active < len(values) - step]
        active = active[ordered[active] == ordered[active + step]]
        if not len(active):
            break
        near = active[np.bitwise_count(hashes[active] ^ hashes[active + step]) <= distance]
        group_of = _union(group_of, order[near], order[near + step])
    return group_of


def _union(group_of: Places, left: Places, right: Places) -> Places:
    """Return each group that is linked with another the smaller number, until nothing changes."""
    while True:
        first, second = group_of[left], group_of[right]
        if not (differ := first != second).any():
            return group_of
        low, high = np.minimum(first, second)[differ], np.maximum(first, second)[differ]
        parents = np.arange(len(group_of))
        np.minimum.at(parents, high, low)
        while not np.array_equal(jumped := parents[parents], parents):
            parents = jumped
        group_of = parents[group_of]


EXAMPLES = 20
NUMBER = re.compile(r"\d+")
QUANTILES = {"min": 0.0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "max": 1.0}


@dataclass
class RowHashes:
    """64 bits a row, in the order of the rows: what is kept of a text or a picture to find it again."""

    rows: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[int]" = field(default_factory=lambda: array("Q"))

    def add(self, row: int, value: int) -> None:
        """Add those of one row."""
        self.rows.append(row)
        self.values.append(value)

    def equal(self) -> list[list[int]]:
        """Return the rows whose values come more than once, the largest groups first."""
        return self._rows(equal_groups(np.asarray(self.values, np.uint64)))

    def near(self) -> list[list[int]]:
        """Return the rows whose values differ in a few bits only, the largest groups first."""
        return self._rows(near_groups(np.asarray(self.values, np.uint64)))

    def _rows(self, groups: list[list[int]]) -> list[list[int]]:
        return [[self.rows[position] for position in group] for group in groups]


@dataclass
class TextCounts:
    """What the texts are like."""

    keys: RowHashes = field(default_factory=RowHashes)
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
class ImageCounts:
    """What the pictures are like, each decoded once."""

    limits: ImageLimits
    keys: RowHashes = field(default_factory=RowHashes)
    looks: RowHashes = field(default_factory=RowHashes)
    widths: "array[int]" = field(default_factory=lambda: array("q"))
    heights: "array[int]" = field(default_factory=lambda: array("q"))
    sizes: "array[int]" = field(default_factory=lambda: array("q"))
    formats: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    unusable: list[dict[str, Any]] = field(default_factory=list)
    flat: int = 0

    def add(self, row: int, item_id: str, source: FileSource | None, problem: str | None) -> None:
        """Count one picture, or why it cannot be used."""
        try:
            if problem or source is None:
                raise UnusableImage(problem or "image file is empty")
            data = read_picture(source, self.limits)
            self.keys.add(row, _hash(data))
            self.sizes.append(len(data))
            (decoded,) = decode_all(Kind.IMAGE, [data], Task(pictures=self.limits, described=True))
            if isinstance(decoded, Unusable):
                raise UnusableImage(decoded.reason)
        except UnusableImage as error:
            self.reasons[NUMBER.sub("N", reason_kind(str(error)))] += 1  # or every size is a reason of its own
            if len(self.unusable) < EXAMPLES:
                self.unusable.append({"source_row": row, "item_id": item_id, "reason": str(error)})
            return
        self.widths.append(decoded.described["width"])
        self.heights.append(decoded.described["height"])
        self.formats[decoded.described["format"]] += 1
        if (look := decoded.described["look"]) is None:
            self.flat += 1
        else:
            self.looks.add(row, look)


def quantiles(values: "array[int]") -> dict[str, int]:
    """Return the quantiles of some values by name.

    >>> quantiles(array("q", [3, 1, 2]))["median"], quantiles(array("q"))
    (2, {})
    """
    if not values:
        return {}
    # Values that occur, not means of two: a picture is 3 pixels wide or 4.
    quantile_values = np.quantile(np.asarray(values), list(QUANTILES.values()), method="inverted_cdf")
    return dict(zip(QUANTILES, map(int, quantile_values), strict=True))


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
