"""Runs of `commonspace similar --all` and `users-for`."""

from collections.abc import Sequence
from pathlib import Path

from indexing.runtime.progress import progress
from indexing.runtime.ray_engine import RayEngine
from retrieval.batch.neighbours import NeighboursConfig, write_neighbours
from retrieval.batch.results import StandardOutput, write_result
from retrieval.cli.display.output import counted, known_json
from retrieval.cli.display.terminal import Cell, UsageError, say, show_json, show_pairs, show_table
from retrieval.cli.options.output import OutputOptions
from retrieval.interactions.known_items import KnownItems
from retrieval.retriever.related.users import RankedUsers
from retrieval.retriever.retriever import Retriever


def neighbours_of_all(
    retriever: Retriever, config: NeighboursConfig, output: OutputOptions, engine: RayEngine | None
) -> None:
    """Write the neighbours of every item, and show the report."""
    if not isinstance(output.out, Path):
        raise UsageError("--all writes a table: give --out neighbours.parquet, .csv or .jsonl, or --out FOLDER")
    total = int(retriever.bundle.is_live.sum())
    with progress("finding neighbours", total, "items") as shown:

        def advance(lines: int, _users: int, _quarantined: int) -> None:
            shown.advance(lines)

        report = write_neighbours(retriever, output.out, config, progress=advance, engine=engine)
    counts = {
        "items": report.users,
        "neighbours": report.answers,
        "parts": report.parts,
        "resumed": report.resumed,
        "seconds": report.seconds,
        "items_per_second": report.users_per_second,
    }
    if output.as_json:
        show_json("neighbours", {"written": str(output.out), **counts})
        return
    parts = f"{counted(report.parts, 'part')}, {report.resumed} of them from before"
    show_pairs(
        str(output.out),
        {
            "items": f"{report.users:,}",
            "neighbours": f"{report.answers:,} in {parts}",
            "time": f"{report.seconds:.1f} s, {report.users_per_second:.0f} items/s",
        },
    )


def show_users(found: RankedUsers, output: OutputOptions, known: KnownItems) -> None:
    """Give the users of each item, as tables, as JSON, or as a file."""
    table = found.to_arrow()
    if output.out is not None:
        name = write_result(table, output.out)
        if isinstance(output.out, StandardOutput):
            return
        empty = int((found.rows < 0).all(axis=1).sum())
        message = {"written": name, "queries": len(found), "empty": empty, **known_json(known)}
        words = f"{counted(len(table), 'user')} for {counted(len(found), 'item')} written to {name}"
        show_json("written", message) if output.as_json else say(words)
        return
    if output.as_json:
        show_json("user", *table.to_pylist())
        return
    for item_id, hits in zip(found.item_ids, found, strict=True):
        lines: list[list[Cell]] = [[hit.rank, hit.user_id, f"{hit.score:.4f}"] for hit in hits]
        show_table(f"users for {item_id}", ["rank", "user_id", "score"], lines, whole=["user_id"])
        if not hits:
            say("nobody was found")


def baskets_of(given: Sequence[str]) -> list[list[str]]:
    """Read baskets, each like ``mug-1,cup-2``.

    >>> baskets_of(["mug-1, cup-2", "shoe-3"])
    [['mug-1', 'cup-2'], ['shoe-3']]

    Raises:
        UsageError: When one holds no item.
    """
    baskets = [[part.strip() for part in text.split(",") if part.strip()] for text in given]
    if empty := [text for text, basket in zip(given, baskets, strict=True) if not basket]:
        raise UsageError(f"the basket {empty[0]!r} holds no item; write it like mug-1,cup-2")
    return baskets
