"""Recommendations with what made each hit one."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from retrieval.candidates import Candidates
from retrieval.cli.display.terminal import Cell, show_json, show_table, title_cell
from retrieval.postprocess.titles import titles_at, with_titles
from retrieval.ranking.explain.explain import Explanation
from retrieval.retriever.retriever import Retriever

SHOWN = 0.005  # what is less rounds to zero
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
        hits = with_titles(candidates, retriever.bundle).to_pylist()
        whys = [_why(one, _called(retriever, one)) for line in told for one in line]
        show_json([hit | {"why": why} for hit, why in zip(hits, whys, strict=True)])
        return
    for query, (query_id, line, hits) in enumerate(zip(candidates.query_ids, told, candidates, strict=True)):
        rows = candidates.rows[query]
        titles = titles_at(retriever.bundle, rows[rows >= 0])
        cells: list[list[Cell]] = []
        for hit, title, one in zip(hits, titles, line, strict=True):
            item = [hit.item_id, *([title_cell(title)] if title else [])]
            cells.append([hit.rank, item, f"{hit.score:.4f}", _in_words(one, _called(retriever, one))])
        show_table(f"{query_id} ({candidates.stage})", ("rank", "item", "score", "why"), cells, whole=["item"])


def _called(retriever: Retriever, one: Explanation) -> list[str | None]:
    """Give the titles of the items of the history that an explanation names."""
    rows = [retriever.items.row(item_id) for item_id, _ in one.history]
    titles = iter(titles_at(retriever.bundle, [row for row in rows if row is not None]))
    return [None if row is None else next(titles) for row in rows]


def _why(one: Explanation, titles: Sequence[str | None]) -> dict[str, Any]:
    """Give an explanation as plain JSON values, without what the hit itself says."""
    why = asdict(one)
    del why["item_id"]
    named = zip(one.history, titles, strict=True)
    return why | {
        "history": [{"item_id": item_id, "title": title, "effect": effect} for (item_id, effect), title in named]
    }


def _in_words(one: Explanation, titles: Sequence[str | None]) -> list[str]:
    """Give the lines of a cell: what pulled the item up, and what each part of the score adds."""
    parts = {"content": one.content, "behaviour": one.behaviour, "popularity": one.popularity}
    if one.profile:
        parts["profile"] = one.profile
    named = [
        (title_cell(f"{title} ({item_id})" if title else item_id), effect)
        for (item_id, effect), title in zip(one.history, titles, strict=True)
    ]
    lines = [f"because of {name} {effect:+.2f}" for name, effect in named if abs(effect) >= SHOWN]
    shown = {name: effect for name, effect in parts.items() if abs(effect) >= SHOWN}
    lines.append(f"retrieved with {one.score:+.2f} = {_signed(shown.items()) or 'nothing'}")
    if one.modalities:
        lines.append("made of " + ", ".join(f"{weight:.0%} {name}" for name, weight in one.modalities.items()))
    if one.features:
        moved = {name: effect for name, effect in one.features.items() if abs(effect) >= SHOWN}
        lines.append(f"moved by {_signed(moved.items()) or 'nothing'}")
    return lines


def _signed(effects: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {effect:+.2f}" for name, effect in effects)
