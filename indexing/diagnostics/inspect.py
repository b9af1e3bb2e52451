"""What a source holds, before anything is built from it: one pass over all of it, with no more than a batch in memory.

Beside that, each item costs its item_id and some thirty bytes of hashes and sizes.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

from indexing.catalogue.arrow_values import python_rows
from indexing.catalogue.attributes import AttributeColumns
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.cleaning import clean_text, reason_kind
from indexing.catalogue.medium import media_in
from indexing.catalogue.validation import NOTHING_TO_EMBED, ItemIdChecker
from indexing.diagnostics.inspect_counts import EXAMPLES, ImageCounts, TextCounts, quantiles
from indexing.errors import InputError
from indexing.media.files import Kind
from indexing.media.images import ImageLimits

BATCH_ROWS = 64  # at once, since pictures and sounds are read with them
MAX_MEMBERS = 6  # of a group, as examples
NUM_SAMPLED = 24


@dataclass(frozen=True)
class Groups:
    """Items that are the same, or nearly.

    Attributes:
        groups: How many groups of two or more.
        items: Items in them.
        examples: Source rows and item_ids of some members of the largest groups.
    """

    groups: int
    items: int
    examples: list[list[dict[str, Any]]]


@dataclass(frozen=True)
class Inspection:
    """What a source holds.

    Attributes:
        source: Its name.
        limit: How many rows were looked at, if not all.
        rows: Rows looked at; ``kept`` and all of ``rejected`` add up to it.
        kept: Rows that would become items.
        rejected: Rows that would not, by reason.
        rejected_examples: Some of them, with source_row, item_id and reason.
        coverage: Kept rows that have text, image, audio, video.
        text: Bytes, quantiles of the length in characters, guesses at the language, exact duplicates.
        image: Bytes, formats, quantiles of sizes, unusable pictures, exact and near duplicates.
        audio: Bytes, where there is such a column.
        sampled: Source rows of some items drawn at random.
        columns: Attributes and what each holds; why columns are text, or left out; how the source was read.
        left_out: Files of a folder that are no rows and were not looked at, by what they are.
    """

    source: str
    limit: int | None
    rows: int
    kept: int
    rejected: dict[str, int]
    rejected_examples: list[dict[str, Any]]
    coverage: dict[str, int]
    text: dict[str, Any]
    image: dict[str, Any]
    audio: dict[str, Any]
    sampled: list[int]
    left_out: dict[str, int] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


class _Pass:
    """What one pass over a catalogue has seen so far."""

    def __init__(self, catalogue: Catalogue, limits: ImageLimits) -> None:
        self.catalogue, self.columns = catalogue, catalogue.columns
        self.root = catalogue.media_root
        self.rows = self.kept = self.audio_size = 0
        self.items_with: Counter[Kind] = Counter()
        self.ids = ItemIdChecker(Counter())
        self.rejected: Counter[str] = Counter()
        self.rejects: list[dict[str, Any]] = []
        self.texts, self.pictures = TextCounts(), ImageCounts(limits)
        self.sampled: list[int] = []
        self._random = random.Random(0)  # noqa: S311 - a sample to look at

    def reject(self, row: int, item_id: str | None, problem: str) -> None:
        self.rows += 1
        self.rejected[reason_kind(problem)] += 1
        if len(self.rejects) < EXAMPLES:
            self.rejects.append({"source_row": row, "item_id": item_id, "reason": problem})

    def see(self, row: int, values: dict[str, Any]) -> None:
        item_id, problem = self.ids.judge(values[self.columns.item_id], row)
        text = clean_text([values[name] for name in self.columns.text], Counter()) if problem is None else None
        media = media_in(values, self.columns, self.root)
        if problem is None and text is None and not media:
            problem = NOTHING_TO_EMBED
        if problem is not None or item_id is None:
            self.reject(row, item_id, problem or NOTHING_TO_EMBED)
            return
        self.rows += 1
        self._sample(row)
        if text is not None:
            self.texts.add(row, text)
        self.items_with.update({medium.kind for medium in media})
        for medium in media:
            if medium.kind is Kind.IMAGE:
                self.pictures.add(row, item_id, medium.source, medium.problem)
            elif medium.kind is Kind.AUDIO and isinstance(medium.source, bytes):
                self.audio_size += len(medium.source)

    def _sample(self, row: int) -> None:
        """Keep each kept row with equal chances, without knowing how many there will be."""
        self.kept += 1
        if len(self.sampled) < NUM_SAMPLED:
            self.sampled.append(row)
        elif (position := self._random.randrange(self.kept)) < NUM_SAMPLED:
            self.sampled[position] = row


def inspect_catalogue(
    catalogue: Catalogue,
    *,
    limit: int | None = None,
    limits: ImageLimits | None = None,
    progress: Callable[[int], None] | None = None,
) -> Inspection:
    """Look at every row of a catalogue, or at the first ones.

    Args:
        catalogue: The source.
        limit: How many rows to look at; all when None.
        limits: What a single picture may cost.
        progress: Called with the number of rows after each batch.

    Raises:
        InputError: When the limit is not positive.
    """
    if limit is not None and limit < 1:
        raise InputError(f"{limit} rows cannot be looked at; give a limit of at least 1")
    counts = _Pass(catalogue, limits or ImageLimits())
    columns = counts.columns
    names = [columns.item_id, *columns.text, *columns.media]
    reported = 0
    for row, values in numbered_rows(catalogue, names, limit):
        counts.see(row, values)
        if progress and row - reported >= BATCH_ROWS:
            progress(row - reported)
            reported = row
    for row, problem in catalogue.reader.malformed.items():
        if limit is None or row < limit:
            counts.reject(row, None, problem)
    return _summary(counts, limit)


def numbered_rows(
    catalogue: Catalogue, names: Sequence[str], limit: int | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Return some columns of the readable rows with their number in the source."""
    numbers = (number for number in count() if number not in catalogue.reader.malformed)
    for batch in catalogue.reader.batches(
        list(dict.fromkeys(names)), BATCH_ROWS if limit is None else min(BATCH_ROWS, limit)
    ):
        for values in python_rows(batch):
            number = next(numbers)
            if limit is not None and number >= limit:
                return
            yield number, values


def _summary(counts: _Pass, limit: int | None) -> Inspection:
    texts, pictures = counts.texts, counts.pictures
    coverage = {"text": len(texts.lengths), "image": counts.items_with[Kind.IMAGE]}
    for kind, name in ((Kind.AUDIO, counts.columns.audio), (Kind.VIDEO, counts.columns.video)):
        coverage |= {str(kind): counts.items_with[kind]} if name else {}
    return Inspection(
        source=counts.catalogue.source,
        limit=limit,
        rows=counts.rows,
        kept=counts.kept,
        rejected=dict(counts.rejected),
        rejected_examples=sorted(counts.rejects, key=lambda reject: reject["source_row"]),
        coverage=coverage,
        text={
            "bytes": texts.size,
            "characters": quantiles(texts.lengths),
            "language_guess": dict(texts.languages.most_common()),
            "duplicates": _groups(texts.keys.equal(), counts),
        },
        image={
            "bytes": sum(pictures.sizes),
            "usable": len(pictures.widths),
            "formats": dict(pictures.formats.most_common()),
            "width": quantiles(pictures.widths),
            "height": quantiles(pictures.heights),
            "file_bytes": quantiles(pictures.sizes),
            "unusable": {"reasons": dict(pictures.reasons.most_common()), "examples": pictures.unusable},
            "duplicates": _groups(pictures.keys.equal(), counts),
            "near_duplicates": _groups(pictures.looks.near(), counts),
            "without_detail": pictures.flat,
        },
        audio={"bytes": counts.audio_size} if counts.columns.audio else {},
        sampled=sorted(counts.sampled),
        columns=_columns(counts.catalogue, limit),
        left_out=dict(counts.catalogue.reader.left_out),
    )


def _columns(catalogue: Catalogue, limit: int | None) -> dict[str, Any]:
    attributes = AttributeColumns(catalogue.reader, catalogue.columns)
    attributes.look(limit)
    return {
        "item_id": catalogue.columns.item_id,
        "taken": catalogue.columns.in_words(),
        "attributes": attributes.in_words(),
        "as_text": attributes.as_text(),
        "columns_left_out": attributes.left_out,
        "read_as": list(catalogue.reader.notes.read_as),
    }


def _groups(groups: list[list[int]], counts: _Pass) -> Groups:
    examples = [group[:MAX_MEMBERS] for group in groups[:EXAMPLES]]
    rows = {row for group in examples for row in group}
    name_of = {row: item_id for item_id, row in counts.ids.first_row.items() if row in rows} if rows else {}
    return Groups(
        groups=len(groups),
        items=sum(map(len, groups)),
        examples=[[{"source_row": row, "item_id": name_of[row]} for row in group] for group in examples],
    )
