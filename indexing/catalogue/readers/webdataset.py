"""Items from tar files of the webdataset layout, read in the order of the files and never unpacked to disk."""

import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from indexing.catalogue.readers.base import ReadingNotes
from indexing.catalogue.readers.jsonl import as_text, json_object
from indexing.catalogue.readers.tar import Record, records
from indexing.catalogue.readers.text_encoding import WESTERN, UnreadableCaption, decode_caption, is_western
from indexing.errors import CatalogueError, examples

IMAGES = ("jpg", "jpeg", "png", "webp", "gif")
CAPTIONS = ("txt", "caption")
SOUNDS = ("wav", "flac", "ogg", "mp3")
# Columns that are members themselves, with the extensions that may hold them and their type.
MEMBERS = {"image": (IMAGES, pa.binary()), "caption": (CAPTIONS, pa.string()), "audio": (SOUNDS, pa.binary())}
KNOWN = {"json", *IMAGES, *CAPTIONS, *SOUNDS}
ID_NAMES = ("item_id", "id")
MOST_COLUMNS = 1000
MOST_SHARDS = 100_000
BATCH_BYTES = 64_000_000
BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{},]*(?:,[^{},]*)+))\}")
INT64 = 1 << 63


class WebDatasetReader:
    """Rows of tar files; see `Reader`.

    Members with one key, one after another, are a row: the key is the path up to the first dot of the file name.
    Columns are ``image``, ``caption``, ``audio`` and what the JSON members hold; item_id is the JSON's, else the key.

    Args:
        source: A tar file, a folder of them, or a pattern like ``shard-{000..010}.tar``.

    Raises:
        CatalogueError: When there is no such file, or no row in it.
    """

    def __init__(self, source: Path | str) -> None:
        self.name = str(source)
        self._shards = shards_of(self.name)
        malformed: dict[int, str] = {}
        self.malformed: Mapping[int, str] = malformed
        self.left_out: Mapping[str, int] = {}
        self.notes = ReadingNotes()
        held: set[str] = set()
        kinds: dict[str, pa.DataType] = {}
        number, western = -1, 0
        first_shard: dict[str, str] = {}
        for number, record in enumerate(self._records({"json", *CAPTIONS})):
            values, problem = _values(record)
            problem = problem or _repeated(record, values, first_shard)
            if problem:
                malformed[number] = problem
                continue
            western += is_western(_first(record, CAPTIONS) or b"")
            held |= {name for name, (extensions, _) in MEMBERS.items() if record.members.keys() & set(extensions)}
            _learn(kinds, values)
        if number < 0:
            raise CatalogueError(f"{self.name} holds no row: no member is named like 0001.jpg or 0001.txt")
        if number + 1 == len(malformed):
            raise CatalogueError(f"{self.name} holds no row that can be read, e.g. {next(iter(malformed.values()))}")
        if western:
            self.notes.read_as.append(f"{western} captions in {WESTERN}")
        members = {name: kind for name, (_, kind) in MEMBERS.items() if name in held}
        if "caption" in members and "caption" in kinds:
            kinds["caption"] = pa.string()
        fields = {"item_id": pa.string(), **members, **{name: k for name, k in kinds.items() if name not in members}}
        self.schema = pa.schema([(name, pa.string() if kind == pa.null() else kind) for name, kind in fields.items()])

    def batches(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """Return some columns of all readable rows; see `Reader`. Rows that hold much come fewer at a time."""
        wanted = {extension for name in columns for extension in MEMBERS.get(name, ((), None))[0]}
        if set(columns) - {"image", "audio"}:
            wanted.add("json")
        rows: list[dict[str, Any]] = []
        held = 0
        for number, record in enumerate(self._records(wanted)):
            if number in self.malformed:
                continue
            rows.append(self._row(record, columns))
            held += sum(len(value) for value in record.members.values() if value)
            if len(rows) == size or held >= BATCH_BYTES:
                yield self._batch(rows, columns)
                rows, held = [], 0
        if rows:
            yield self._batch(rows, columns)

    def _records(self, wanted: set[str]) -> Iterator[Record]:
        try:
            for shard in self._shards:
                yield from records(shard, wanted.__contains__)
        except OSError as error:
            raise CatalogueError(f"{self.name} cannot be read or has changed: {error}") from error

    def _row(self, record: Record, columns: Sequence[str]) -> dict[str, Any]:
        values, _ = _values(record)
        row: dict[str, Any] = {}
        for name in columns:
            if name == "item_id":
                given = next((values[known] for known in ID_NAMES if values.get(known) is not None), record.key)
                row[name] = as_text(given)
            elif name in MEMBERS and (data := _first(record, MEMBERS[name][0])) is not None:
                row[name] = decode_caption(data) if name == "caption" else data
            elif not pa.types.is_binary(kind := self.schema.field(name).type):
                row[name] = _fitted(values.get(name), kind)
        return row

    def _batch(self, rows: list[dict[str, Any]], columns: Sequence[str]) -> pa.RecordBatch:
        schema = pa.schema([self.schema.field(name) for name in columns])
        arrays = [pa.array([row.get(name) for row in rows], schema.field(name).type) for name in columns]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def shards_of(source: str) -> list[Path]:
    """Find the tar files that a path, a folder or a pattern names, in order.

    Raises:
        CatalogueError: When one of them, or all of them, are missing.
    """
    if Path(source).is_dir():
        found = sorted(path for path in Path(source).glob("*.tar") if path.is_file())
        if not found:
            raise CatalogueError(f"{source} holds no .tar file")
        return found
    shards: list[Path] = []
    for name in _expanded(source):
        is_pattern = not Path(name).exists() and glob.has_magic(name)
        matches = sorted(glob.glob(name)) if is_pattern else [name]
        shards += map(Path, matches)
    if missing := [str(shard) for shard in shards if not shard.is_file()] or ([] if shards else [source]):
        raise CatalogueError(f"{examples(missing)}: no such file; give a .tar file, a folder or shard-{{000..010}}.tar")
    return shards


def _expanded(pattern: str) -> list[str]:
    """Write out braces.

    >>> _expanded("{a,b}-{08..10}.tar")
    ['a-08.tar', 'a-09.tar', 'a-10.tar', 'b-08.tar', 'b-09.tar', 'b-10.tar']
    """
    done, left = [], [pattern]
    while left:
        name = left.pop(0)
        if (found := BRACES.search(name)) is None:
            done.append(name)
            continue
        first, last, choice = found.groups()
        if choice is None and int(last) - int(first) >= MOST_SHARDS:
            raise CatalogueError(f"{pattern} names more than {MOST_SHARDS} files; give a smaller range")
        numbers = range(int(first or 0), int(last or 0) + 1)
        parts = choice.split(",") if choice else [str(number).zfill(len(first)) for number in numbers]
        left = [name[: found.start()] + part + name[found.end() :] for part in parts] + left
        if len(left) + len(done) > MOST_SHARDS:
            raise CatalogueError(f"{pattern} names more than {MOST_SHARDS} files; give a smaller range")
    return done


def _first(record: Record, extensions: Sequence[str]) -> bytes | None:
    return next((data for name, data in record.members.items() if name in extensions and data is not None), None)


def _values(record: Record) -> tuple[dict[str, Any], str | None]:
    """Return what the JSON of a record holds, and why the record cannot be used."""
    if record.problem:
        return {}, record.problem
    if not record.members.keys() & KNOWN:
        held = ", ".join(sorted(record.members)[:3])
        return {}, f"no picture, sound, caption or JSON: {record.key!r} has {held}, as a key ends at the first dot"
    try:
        decode_caption(_first(record, CAPTIONS) or b"")
    except UnreadableCaption as problem:
        return {}, f"caption cannot be read: {problem}: {record.key} in {record.shard}"
    data = record.members.get("json")
    return ({}, None) if data is None else json_object(data)


def _repeated(record: Record, values: Mapping[str, Any], first_shard: dict[str, str]) -> str | None:
    """Say why a key that came before is no item of its own, unless its JSON has an item_id."""
    if any(values.get(name) is not None for name in ID_NAMES):
        return None
    shard = first_shard.setdefault(record.key, "")
    if not shard:
        first_shard[record.key] = record.shard
        return None
    if shard == record.shard:
        return f"members of one key lie apart: {record.key!r} in {shard}, sort its members by name"
    return f"key of another tar file: {record.key!r} in {record.shard} is in {shard} too"


def _learn(kinds: dict[str, pa.DataType], values: Mapping[str, Any]) -> None:
    """Note the types of further values: the first one stays, and is text from where another does not fit it."""
    for name, value in values.items():
        if name in ID_NAMES or (name not in kinds and len(kinds) >= MOST_COLUMNS):
            continue
        kind, known = _kind(value), kinds.get(name, pa.null())
        if {kind, known} == {pa.int64(), pa.float64()}:
            kinds[name] = pa.float64()
        elif pa.null() in (kind, known):
            kinds[name] = kind if known == pa.null() else known
        elif kind != known:
            kinds[name] = pa.string()


def _kind(value: Any) -> pa.DataType:  # noqa: ANN401 - what JSON holds
    if value is None:
        return pa.null()
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int) and -INT64 <= value < INT64:
        return pa.int64()
    if isinstance(value, float):
        return pa.float64()
    listed = isinstance(value, list) and all(isinstance(part, str) for part in value)
    return pa.list_(pa.string()) if listed else pa.string()


def _fitted(value: Any, kind: pa.DataType) -> Any:  # noqa: ANN401 - what JSON holds
    if value is None or kind != pa.string():
        return float(value) if kind == pa.float64() and value is not None else value
    return as_text(value)
