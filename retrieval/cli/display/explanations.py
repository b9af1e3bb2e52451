"""Recommendations with an explanation of each hit."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from retrieval.candidates import Candidates
from retrieval.cli.display.terminal import Cell, show_json, show_table, title_cell
from retrieval.postprocess.titles import titles_at, with_titles
from retrieval.ranking.explain import Explanation
from retrieval.retriever.retriever import Retriever

SHOWN = 0.005  # what is less rounds to zero


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
        among: The candidates before postprocessing, of which these are the best.
        weights: The weight of each item of each history, as for the recommendations.
        as_json: Print each hit as without explanations, and ``why``.
    """
    explanations = retriever.explain(candidates, weights=weights, among=among)
    if as_json:
        hits = with_titles(candidates, retriever.bundle).to_pylist()
        whys = [
            _to_json(explanation, _history_titles(retriever, explanation))
            for line in explanations
            for explanation in line
        ]
        show_json("hit", *(hit | {"why": why} for hit, why in zip(hits, whys, strict=True)))
        return
    for query, (query_id, line, hits) in enumerate(zip(candidates.query_ids, explanations, candidates, strict=True)):
        rows = candidates.rows[query]
        titles = titles_at(retriever.bundle, rows[rows >= 0])
        cells: list[list[Cell]] = []
        for hit, title, explanation in zip(hits, titles, line, strict=True):
            item = [hit.item_id, *([title_cell(title)] if title else [])]
            cells.append(
                [hit.rank, item, f"{hit.score:.4f}", _in_words(explanation, _history_titles(retriever, explanation))]
            )
        show_table(f"{query_id} ({candidates.stage})", ("rank", "item", "score", "why"), cells, whole=["item"])


def _history_titles(retriever: Retriever, explanation: Explanation) -> list[str | None]:
    """Give the titles of the items of the history that an explanation names."""
    rows = [retriever.items.row(item_id) for item_id, _ in explanation.history]
    titles = iter(titles_at(retriever.bundle, [row for row in rows if row is not None]))
    return [None if row is None else next(titles) for row in rows]


def _to_json(explanation: Explanation, titles: Sequence[str | None]) -> dict[str, Any]:
    """Give an explanation as plain JSON values, without the item_id, which the hit has."""
    why = asdict(explanation)
    del why["item_id"]
    named = zip(explanation.history, titles, strict=True)
    return why | {
        "history": [{"item_id": item_id, "title": title, "effect": effect} for (item_id, effect), title in named]
    }


def _in_words(explanation: Explanation, titles: Sequence[str | None]) -> list[str]:
    """Give the lines of a cell: the items of the history that count, and what each part of the score adds."""
    parts = {"content": explanation.content, "behaviour": explanation.behaviour, "popularity": explanation.popularity}
    if explanation.profile:
        parts["profile"] = explanation.profile
    named = [
        (title_cell(f"{title} ({item_id})" if title else item_id), effect)
        for (item_id, effect), title in zip(explanation.history, titles, strict=True)
    ]
    lines = [
        f"{'because of' if effect > 0 else 'despite'} {name} {effect:+.2f}"
        for name, effect in named
        if abs(effect) >= SHOWN
    ]
    shown = {name: effect for name, effect in parts.items() if abs(effect) >= SHOWN}
    lines.append(f"retrieved with {explanation.score:+.2f} = {_signed(shown.items()) or 'nothing'}")
    if explanation.modalities:
        lines.append("made of " + ", ".join(f"{weight:.0%} {name}" for name, weight in explanation.modalities.items()))
    if explanation.features:
        effects = {name: effect for name, effect in explanation.features.items() if abs(effect) >= SHOWN}
        lines.append(f"moved by {_signed(effects.items()) or 'nothing'}")
    return lines


def _signed(effects: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {effect:+.2f}" for name, effect in effects)
