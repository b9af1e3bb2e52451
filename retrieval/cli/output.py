"""How answers are shown: a table for people, JSON for programs, Parquet for the next step."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from indexing import fsops
from indexing.bundle import Bundle
from indexing.store import parquet_bytes
from retrieval.candidates import Candidates
from retrieval.rules import Ruled
from retrieval.titles import titles_of

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Out = Annotated[Path | None, typer.Option(help="Write the answers to this Parquet file instead.")]

SHOWN_TEXT = 60


def progress_wanted(as_json: bool) -> bool:
    """Show progress only to a person at a terminal."""
    return sys.stderr.isatty() and not as_json


def show_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print one JSON value."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def show_pairs(title: str, pairs: Mapping[str, object]) -> None:
    """Print names and values as a small table."""
    # What comes from outside may hold brackets, as in shard-[a-c].tar: rich takes those for its markup.
    table = Table("", "", title=escape(title), title_justify="left", show_header=False)
    for name, value in pairs.items():
        table.add_row(name, escape(str(value)))
    Console().print(table)


def show_candidates(candidates: Candidates, bundle: Bundle, *, as_json: bool, out: Path | None = None) -> None:
    """Give ranked items as tables, as JSON lines of one list, or as a Parquet file."""
    if out is not None:
        write_table(candidates.to_arrow(), out)
        message = {"written": str(out), "queries": len(candidates)}
        show_json(message) if as_json else typer.echo(f"{len(candidates)} lists written to {out}")
        return
    if as_json:
        show_json(candidates.to_arrow().to_pylist())
        return
    titles = titles_of(bundle)
    ruled = candidates if isinstance(candidates, Ruled) else None
    for query, (query_id, hits) in enumerate(zip(candidates.query_ids, candidates, strict=True)):
        table = Table("rank", "item_id", "score", "", title=f"{query_id} ({candidates.stage})", title_justify="left")
        if ruled is not None:
            table.add_column("rules")
        for place, hit in enumerate(hits):
            cells = [str(hit.rank), hit.item_id, f"{hit.score:.4f}", titles.get(hit.item_id, "")[:SHOWN_TEXT]]
            table.add_row(*cells, *([] if ruled is None else [escape("; ".join(ruled.rules_of(query)[place]))]))
        Console().print(table)
        if ruled is not None and ruled.excluded[query]:
            told = "; ".join(f"{rule}: {count} left out" for rule, count in ruled.excluded[query].items())
            Console().print(escape(told))


def write_table(table: pa.Table, out: Path) -> None:
    """Write a whole Parquet file, or leave what was there."""
    write_file(out, parquet_bytes(table))


def write_file(path: Path, data: bytes) -> None:
    """Write a whole file, into a folder that is made when it is missing, or leave what was there."""
    fsops.make_folder(path.parent)
    fsops.write_bytes(path, data)
