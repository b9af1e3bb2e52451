"""Recommendations with what made each hit one."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from retrieval.candidates import Candidates
from retrieval.cli.output import SHOWN_TEXT, show_json
from retrieval.explain import Explanation
from retrieval.retriever import Retriever
from retrieval.titles import titles_of

Explain = Annotated[
    bool,
    typer.Option("--explain", help="Say what made each hit one: items of the history, modalities, stages, features."),
]


def show_explained(
    retriever: Retriever,
    candidates: Candidates,
    among: Candidates,
    weights: list[list[float]] | None,
    *,
    as_json: bool,
) -> None:
    """Give recommendations as tables or as JSON, each hit with its explanation.

    Args:
        retriever: Which recommended.
        candidates: The recommendations.
        among: The list that they are the best of, as it was before it was varied, ruled and cut.
        weights: How much each item of each history was liked, as it was for the recommendations.
        as_json: For programs: each hit as without explanations, and ``why``.
    """
    told = retriever.explain(candidates, weights=weights, among=among)
    if as_json:
        hits = candidates.to_arrow().to_pylist()
        whys = [_why(one) for line in told for one in line]
        show_json([hit | {"why": why} for hit, why in zip(hits, whys, strict=True)])
        return
    titles = titles_of(retriever.bundle)
    for query_id, line, hits in zip(candidates.query_ids, told, candidates, strict=True):
        title = f"{escape(query_id)} ({candidates.stage})"
        table = Table("rank", "item_id", "score", "", "because of", "sum of", "made of", "moved by", title=title)
        table.title_justify = "left"
        for hit, one in zip(hits, line, strict=True):
            cells = [str(hit.rank), hit.item_id, f"{hit.score:.4f}", titles.get(hit.item_id, "")[:SHOWN_TEXT]]
            table.add_row(*map(escape, cells), *map(escape, _in_words(one)))
        Console().print(table)


def _why(one: Explanation) -> dict[str, Any]:
    """Give an explanation as plain JSON values, without what the hit itself says."""
    why = asdict(one)
    del why["item_id"]
    return why | {"history": [{"item_id": item_id, "effect": effect} for item_id, effect in one.history]}


def _in_words(one: Explanation) -> tuple[str, str, str, str]:
    """Give cells with one effect a line."""
    parts = {"content": one.content, "behaviour": one.behaviour, "popularity": one.popularity}
    if one.profile:
        parts["profile"] = one.profile
    modalities = "\n".join(f"{weight:.0%} {name}" for name, weight in one.modalities.items())
    return _signed(one.history), _signed(parts.items()), modalities, _signed(one.features.items())


def _signed(effects: Iterable[tuple[str, float]]) -> str:
    return "\n".join(f"{name} {effect:+.2f}" for name, effect in effects)
