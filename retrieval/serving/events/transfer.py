"""Copies of a log: dumps and restores, whole or not at all; logs of elsewhere, and files for other tools."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from pyarrow import parquet

from indexing.errors import DamagedFileError, InputError, InteractionsError
from indexing.filesystem import fsops
from indexing.runtime.arguments import check_path, shown
from retrieval.batch.table_files import Form, check_out, table_writer, write_tables
from retrieval.interactions.event_types import USUAL_TYPES
from retrieval.interactions.impressions import Impressions
from retrieval.interactions.interactions import read_table, source_name
from retrieval.interactions.log_schema import LogRows, ReadOptions
from retrieval.interactions.parse_values import legible, read_events
from retrieval.serving.config import MAX_NAME_CHARACTERS
from retrieval.serving.events.database import Database, lock_appending
from retrieval.serving.events.reading import stream
from retrieval.serving.events.tables import ALIASES, EVENTS, FORGOTTEN, IMPRESSION, add_new
from retrieval.serving.events.users import join_names
from retrieval.serving.events.writer import Appended, Writer, add_events

MANIFEST = "manifest.json"
_FORMAT = 1
_AT_ONCE = 5_000
_TABLES = (FORGOTTEN, ALIASES)
_IMPORTED = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("time", pa.int64()),
        ("type", pa.string()),
        ("weight", pa.float64()),
        ("position", pa.int32()),
        ("request_id", pa.string()),
    ]
)
_EXPORTED = ("user_id", "item_id", "time", "type", "weight", "session_id", "position", "request_id", "variant")


@dataclass(frozen=True)
class Restored:
    """What `restore` brought back.

    Attributes:
        events: How many events.
        duplicates: How many were there already.
        forgotten: How many were left out, as their user was forgotten since.
    """

    events: int
    duplicates: int
    forgotten: int


@dataclass(frozen=True)
class Imported:
    """What `import_log` added.

    Attributes:
        appended: How many events, and how many were there already.
        dropped: How many rows could not be used, by reason.
    """

    appended: Appended
    dropped: dict[str, int]


def dump(database: Database, folder: Path | str) -> int:
    """Write all of a log into a new folder; see `EventLog.dump`."""
    folder = check_path(folder, "folder")
    if folder.exists():
        raise InputError(f"{folder} exists already; name a new folder, as each dump has its own")
    unfinished = folder.with_name(f"{folder.name}{fsops.TEMPORARY_SUFFIX}")
    fsops.remove(unfinished)
    fsops.make_folder(unfinished)
    files: dict[str, dict[str, Any]] = {}
    with database.reading(whole=True) as connection:
        files["events.parquet"] = _write(unfinished / "events.parquet", _event_tables(connection))
        for table in _TABLES:
            name = f"{table.name.removeprefix('commonspace_')}.parquet"
            files[name] = _write(unfinished / name, _rows_of(connection, table))
    content = {"format": _FORMAT, "of": "commonspace events", "files": files}
    fsops.write_bytes(unfinished / MANIFEST, json.dumps(content, indent=1).encode())
    fsops.rename_folder(unfinished, folder)
    return int(files["events.parquet"]["rows"])


def _event_tables(connection: sa.Connection) -> Iterator[pa.Table]:
    names = [column.name for column in EVENTS.columns if column.name not in ("sequence", "is_shown")]
    found = False
    for table in stream(connection, names, merged=False):
        found = True
        yield table
    if not found:
        yield pa.table({name: pa.array([], pa.string()) for name in names})


def _rows_of(connection: sa.Connection, table: sa.Table) -> Iterator[pa.Table]:
    columns = table.columns.keys()
    kinds = [pa.string() if isinstance(column.type, sa.String) else pa.int64() for column in table.columns]
    schema = pa.schema(list(zip(columns, kinds, strict=True)))
    yield schema.empty_table()
    result = connection.execution_options(stream_results=True).execute(sa.select(table))
    while rows := result.fetchmany(_AT_ONCE):
        yield pa.table([pa.array(values) for values in zip(*rows, strict=True)], schema)


def _write(path: Path, tables: Iterator[pa.Table]) -> dict[str, Any]:
    first = next(tables)
    written = write_tables(path, chain((first,), tables), first.schema, "parquet")
    return {"rows": written.rows, "bytes": path.stat().st_size, "sha256": written.digest}


def restore(writer: Writer, folder: Path | str) -> Restored:
    """Bring a dump back in one transaction; see `EventLog.restore`."""
    folder = check_path(folder, "folder")
    _check(folder)

    def job(connection: sa.Connection) -> Appended:
        lock_appending(connection)
        for rows in _batches(folder / "forgotten.parquet"):  # first, in case the log is a new one
            add_new(connection, FORGOTTEN, rows)
        join_names(connection, chain.from_iterable(_batches(folder / "aliases.parquet")))
        total: Counter[str] = Counter()
        for rows in _batches(folder / "events.parquet"):
            for row in rows:
                row["is_shown"] = row["type"] == IMPRESSION
            total.update(vars(add_events(connection, [rows])[0]))
        return Appended(**{"accepted": 0, **total})

    done = writer.run(job)
    return Restored(done.accepted, done.duplicates, done.forgotten)


def _check(folder: Path) -> None:
    """Check that a folder is a whole dump.

    Raises:
        InputError: When it is none, or of a newer version.
        DamagedFileError: When a file is not as it was written.
    """
    try:
        content = json.loads((folder / MANIFEST).read_text("utf-8"))
        files, version = content["files"], content["format"]
        wanted = {"events.parquet", *(f"{table.name.removeprefix('commonspace_')}.parquet" for table in _TABLES)}
        if content["of"] != "commonspace events" or set(files) != wanted:
            raise ValueError("it lists other files")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} is no dump of events: {error}; give a folder that events dump wrote") from error
    if version != _FORMAT:
        raise InputError(f"{folder} is a dump of version {version}, this is version {_FORMAT}: upgrade commonspace")
    for name, said in files.items():
        path = folder / name
        if not path.is_file() or fsops.sha256(path) != said["sha256"]:
            raise DamagedFileError(f"{path} is not as it was written; nothing was restored: take another copy")


def _batches(path: Path) -> Iterator[list[dict[str, Any]]]:
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_AT_ONCE):
            yield batch.to_pylist()


def import_log(writer: Writer, source: Any, options: ReadOptions, kind: str | None = None) -> Imported:  # noqa: ANN401 - a kind of table
    """Add a log of elsewhere; see `EventLog.import_log`."""
    if kind == IMPRESSION:
        seen = Impressions.open(source)
        columns = [seen.table[name] for name in ("user_id", "item_id", "timestamp", "position", "request_id")]
        users, items, times, positions, requests = columns
        kinds, weights = pa.array([IMPRESSION] * len(seen)), pa.array(np.ones(len(seen)))
        table = pa.table([users, items, times, kinds, weights, positions, requests], _IMPORTED)
        return _added(writer, table, source, seen.dropped)
    log = _read_log(source, options, kind)
    nothing = pa.nulls(len(log))
    weights = pa.array(log.weights.astype(np.float64))
    columns = [log.users, log.items, log.times.seconds, log.types, weights, nothing, nothing]
    return _added(writer, pa.table(columns, _IMPORTED), source, dict(log.lost))


def _read_log(source: Any, options: ReadOptions, kind: str | None) -> LogRows:  # noqa: ANN401 - a kind of table
    """Read the usable rows of a log with their types, and the weights that rows have themselves."""
    table, dropped, repaired, names = read_table(source, options, "interactions")
    types = options.types_in(table.column_names) or options.default_events or USUAL_TYPES
    log = LogRows.read(table, options.log_columns.names_in(table.column_names), dropped)
    log.repaired += repaired
    if kind is None and not options.log_columns.has_events(names):
        raise InteractionsError(
            f"{source_name(source)} has no column of types of events; say what its rows are",
            python="with kind='view'",
            cli="with --type view",
        )
    column = "type" if kind is not None else options.log_columns.event_in(names)
    kinds = pa.array([kind] * len(log)) if kind is not None else legible(table[column], column)
    log.types = read_events(kinds, column, types)[1]
    log.leave_out_unusable()
    if count := int((log.weights <= 0).sum()):
        log.lost["weight of 0 or less"] += count
        log.keep(log.weights > 0)
    return log


def _added(writer: Writer, table: pa.Table, source: Any, dropped: dict[str, int]) -> Imported:  # noqa: ANN401
    """Write rows as events, which have the same names when the same log is imported again."""
    for name in ("user_id", "item_id", "request_id"):
        long = pc.greater(pc.utf8_length(table[name]), MAX_NAME_CHARACTERS)
        if (row := pc.index(long, True).as_py()) >= 0:
            text = table[name][row].as_py()
            raise InteractionsError(
                f"{source_name(source)}: {name} is {shown(text)}, of {len(text)} characters; "
                f"names have at most {MAX_NAME_CHARACTERS}"
            )
    seen: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for start in range(0, len(table), _AT_ONCE):
        rows = table.slice(start, _AT_ONCE).to_pylist()
        for row in rows:
            name = hashlib.sha256(json.dumps(list(row.values())).encode()).hexdigest()[:32]
            seen[name] += 1
            row |= {"event_id": f"import:{name}:{seen[name]}", "session_id": None, "variant": None}
            row["is_shown"] = row["type"] == IMPRESSION
        total.update(vars(writer.append(rows)))
    return Imported(Appended(**{"accepted": 0, **total}), dropped)


def export(database: Database, path: Path, *, impressions: bool) -> int:
    """Write a log as a table for other tools; see `EventLog.export`."""
    form = check_out(path)
    if form == "folder":
        raise InputError(f"{path} is no file; give one that ends in .parquet, .csv or .jsonl")
    with database.reading(whole=True) as connection:
        schema, tables = _exported(database, connection, impressions)
        fsops.make_folder(path.parent)
        return write_tables(path, tables, schema, form).rows


def exported(database: Database, form: Form, *, impressions: bool) -> Iterator[bytes]:
    """Give a log as the bytes of a table, a part at a time; see `EventLog.exported`."""
    parts: list[bytes] = []
    with database.reading(whole=True) as connection:
        schema, tables = _exported(database, connection, impressions)
        with table_writer(lambda data: parts.append(bytes(data)), schema, form) as writer:
            for table in tables:
                writer.write_table(table)
                yield b"".join(parts)
                parts.clear()
        yield b"".join(parts)


def _exported(database: Database, connection: sa.Connection, impressions: bool) -> tuple[pa.Schema, Iterator[pa.Table]]:
    """Read a log as tables of one schema; at least one."""
    renamed = ["timestamp" if name == "time" else "event" if name == "type" else name for name in _EXPORTED]
    tables = (table.rename_columns(renamed) for table in stream(connection, _EXPORTED, shown=impressions))
    if (first := next(tables, None)) is None:
        raise InputError(f"{database.shown} has no {'impressions' if impressions else 'events'} to export")
    return first.schema, chain((first,), tables)
