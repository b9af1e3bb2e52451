"""How answers are shown: as tables, as JSON, or as files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from indexing.bundle.bundle import Bundle
from indexing.filesystem import fsops
from indexing.store.store import QUARANTINED
from retrieval.batch.results import StandardOutput, Target, write_result
from retrieval.candidates import Candidates, source_code
from retrieval.cli.display.terminal import Cell, say, show_json, show_table, title_cell
from retrieval.interactions.known_items import KnownItems
from retrieval.postprocess.rules import Ruled
from retrieval.postprocess.titles import titles_at, with_titles
from retrieval.ranking.fusion import Fused, Rank

NUM_EXAMPLES = 3  # rows and items that are shown as examples
_CONTENT = source_code("content")  # the source of every hit of a search: a column of it would say nothing


def known_json(known: KnownItems | None) -> dict[str, Any]:
    """Give as ``known`` how many items of a log the bundle has; nothing when no log was read."""
    return {} if known is None else {"known": known.to_json()}


def show_candidates(
    candidates: Candidates,
    bundle: Bundle,
    *,
    as_json: bool,
    out: Target | None = None,
    known: KnownItems | None = None,
    explain: bool = False,
) -> None:
    """Give ranked items, each with its title, as tables, as JSON, or as a file.

    Args:
        candidates: The lists.
        bundle: Where the titles are.
        as_json: Print one row per hit; with a file print what was written.
        out: Where to, in place of the terminal.
        known: How many items of the log the bundle has.
        explain: Show the place of each hit in every list that was fused.
    """
    if out is not None:
        name = write_result(with_titles(candidates, bundle), out)
        if isinstance(out, StandardOutput):
            return
        empty = int((candidates.rows < 0).all(axis=1).sum())
        message = {"written": name, "queries": len(candidates), "empty": empty, **known_json(known)}
        remark = f"; {empty} of them without any answer" if empty else ""
        show_json("written", message) if as_json else say(
            f"{counted(len(candidates), 'list')} written to {name}{remark}"
        )
        return
    if as_json:
        show_json("hit", *with_titles(candidates, bundle).to_pylist())
        return
    ruled = candidates if isinstance(candidates, Ruled) else None
    fused = candidates if explain and isinstance(candidates, Fused) else None
    with_sources = candidates.sources is not None and not (candidates.sources[candidates.rows >= 0] == _CONTENT).all()
    columns = ["rank", "item_id", "score", "title"]
    columns += ["source"] * with_sources + ["folded"] * bool(candidates.folded) + ["rules"] * (ruled is not None)
    columns += fused.names if fused else ()
    for query, (query_id, hits) in enumerate(zip(candidates.query_ids, candidates, strict=True)):
        rows = candidates.rows[query]
        titles = titles_at(bundle, rows[rows >= 0])
        lines: list[list[Cell]] = [
            [hit.rank, hit.item_id, f"{hit.score:.4f}", title_cell(title), *[hit.source or ""] * with_sources]
            for hit, title in zip(hits, titles, strict=True)
        ]
        if candidates.folded:
            lines = [[*line, ids_in_short(ids)] for line, ids in zip(lines, candidates.folded_ids(query), strict=True)]
        if ruled is not None:
            lines = [[*line, "; ".join(rules)] for line, rules in zip(lines, ruled.rules_of(query), strict=True)]
        if fused is not None:
            lines = [[*line, *_places(fused, at)] for line, at in zip(lines, fused.places_of(query), strict=True)]
        show_table(f"{query_id} ({candidates.stage_of(query)})", columns, lines, whole=["item_id"])
        if not hits:
            say("nothing was found")
        if ruled is not None and ruled.excluded[query]:
            say("; ".join(f"{rule}: {count} left out" for rule, count in ruled.excluded[query].items()))


def ids_in_short(item_ids: Sequence[str]) -> str:
    """Name the first items, and say how many more there are.

    >>> ids_in_short([]), ids_in_short(["a", "b"]), ids_in_short([*"abcde"])
    ('', 'a, b', 'a, b, c and 2 more')
    """
    more = f" and {len(item_ids) - NUM_EXAMPLES:,} more" if len(item_ids) > NUM_EXAMPLES else ""
    return f"{', '.join(item_ids[:NUM_EXAMPLES])}{more}"


def _places(fused: Fused, places: Mapping[str, Rank]) -> list[str]:
    """Say at which place of each list a hit was, and with which score."""
    known = ((places[name].rank, places[name].score) if name in places else None for name in fused.names)
    return ["" if at is None else f"{at[0]} ({at[1]:.3f})" for at in known]


def rejected_rows(reasons: Mapping[str, int], rejects: pa.Table) -> list[str]:
    """Describe why rows were rejected, with the first three as examples.

    Args:
        reasons: Number of rows by reason.
        rejects: Columns ``source_row``, ``item_id`` and ``reason``, one row per rejected row.
    """
    if not reasons:
        return []
    first = rejects.slice(0, NUM_EXAMPLES).to_pylist()
    rows_in_words = [f"row {row['source_row']}, {row['item_id']!r}: {row['reason']}" for row in first]
    return [", ".join(f"{count} {reason}" for reason, count in reasons.items()), *rows_in_words]


def quarantined(bundle: Bundle) -> list[str]:
    """Return the first items of a generation whose content could not be encoded, and why."""
    items_in_words: list[str] = []
    if not bundle.manifest.counts["quarantined"]:
        return items_in_words
    for shard in bundle.generation.shards:
        columns = ["item_id", "modality", "reason"]
        failed = pq.read_table(shard, columns=columns, filters=pc.field("status") == QUARANTINED)
        items_in_words += [
            f"{row['item_id']!r}: {row['reason']}"
            for row in failed.slice(0, NUM_EXAMPLES - len(items_in_words)).to_pylist()
        ]
        if len(items_in_words) == NUM_EXAMPLES:
            break
    return items_in_words


def write_file(path: Path, data: bytes) -> None:
    """Write a whole file, into a folder that is made when it is missing, or leave what was there."""
    fsops.make_folder(path.parent)
    fsops.write_bytes(path, data)


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, in the singular or the plural.

    >>> counted(1, "row"), counted(2_000, "row"), counted(0, "query")
    ('1 row', '2,000 rows', '0 queries')
    """
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"
