"""Recommendations with an explanation of each hit."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from retrieval.candidates import Candidates
from retrieval.cli.display.terminal import Cell, show_json, show_table, title_cell
from retrieval.postprocess.titles import titles_at, with_titles
from retrieval.ranking.explain import Explanation
from retrieval.retriever.queries import Query
from retrieval.retriever.retriever import Retriever

MIN_EFFECT = 0.005  # smaller effects round to zero and are not shown


def show_explained(
    retriever: Retriever,
    candidates: Candidates,
    among: Candidates,
    weights: list[list[float]] | None,
    *,
    as_json: bool,
) -> None:
    """Show recommendations as tables or as JSON, each hit with its explanation.

    Args:
        retriever: The retriever that recommended.
        candidates: The recommendations.
        among: The candidates before postprocessing.
        weights: The weight of each item of each history, as for the recommendations.
        as_json: Print each hit as without explanations, and ``why``.
    """
    explanations = retriever.explain(candidates, weights=weights, among=among)
    if as_json:
        hits = with_titles(candidates, retriever.bundle).to_pylist()
        explanations_json = [
            _to_json(explanation, _history_titles(retriever, explanation))
            for hit_explanations in explanations
            for explanation in hit_explanations
        ]
        show_json("hit", *(hit | {"why": why} for hit, why in zip(hits, explanations_json, strict=True)))
        return
    for query, (query_id, hit_explanations, hits) in enumerate(
        zip(candidates.query_ids, explanations, candidates, strict=True)
    ):
        rows = candidates.rows[query]
        titles = titles_at(retriever.bundle, rows[rows >= 0])
        cells: list[list[Cell]] = []
        for hit, title, explanation in zip(hits, titles, hit_explanations, strict=True):
            item = [hit.item_id, *([title_cell(title)] if title else [])]
            cells.append(
                [hit.rank, item, f"{hit.score:.4f}", _in_words(explanation, _history_titles(retriever, explanation))]
            )
        title = f"{query_id} ({candidates.stage_of(query)})"
        show_table(title, ("rank", "item", "score", "why"), cells, whole=["item"])


def show_query_parts(
    retriever: Retriever, queries: Sequence[str | Query], candidates: Candidates, *, as_json: bool
) -> None:
    """Give answers of a search, each hit with what each part of the query adds to its score."""
    contributions = retriever.explain_queries(queries, candidates)
    if as_json:
        hits = with_titles(candidates, retriever.bundle).to_pylist()
        parts = [
            [{"part": part.label, "weight": part.weight, "score": score} for part, score in hit]
            for query_hits in contributions
            for hit in query_hits
        ]
        show_json("hit", *(hit | {"why": {"parts": why}} for hit, why in zip(hits, parts, strict=True)))
        return
    for query, (query_id, hits) in enumerate(zip(candidates.query_ids, candidates, strict=True)):
        rows = candidates.rows[query]
        titles = titles_at(retriever.bundle, rows[rows >= 0])
        cells: list[list[Cell]] = [
            [
                hit.rank,
                hit.item_id,
                f"{hit.score:.4f}",
                title_cell(title),
                [f"{part.weight:g}:{part.label} {score:+.4f}" for part, score in parts],
            ]
            for hit, title, parts in zip(hits, titles, contributions[query], strict=True)
        ]
        show_table(
            f"{query_id} ({candidates.stage})", ("rank", "item_id", "score", "title", "why"), cells, whole=["item_id"]
        )


def _history_titles(retriever: Retriever, explanation: Explanation) -> list[str | None]:
    """Give the titles of the items of the history that an explanation names."""
    rows = [retriever.items.row(item_id) for item_id, _ in explanation.history]
    titles = iter(titles_at(retriever.bundle, [row for row in rows if row is not None]))
    return [None if row is None else next(titles) for row in rows]


def _to_json(explanation: Explanation, titles: Sequence[str | None]) -> dict[str, Any]:
    """Give an explanation as plain JSON values, without the item_id, which the hit has."""
    fields = asdict(explanation)
    del fields["item_id"]
    named = zip(explanation.history, titles, strict=True)
    return fields | {
        "history": [{"item_id": item_id, "title": title, "effect": effect} for (item_id, effect), title in named]
    }


def _in_words(explanation: Explanation, titles: Sequence[str | None]) -> list[str]:
    """Return the lines of a cell: items of the history that count, and the contribution of each part of the score."""
    parts = {"content": explanation.content, "behaviour": explanation.behaviour, "popularity": explanation.popularity}
    if explanation.profile:
        parts["profile"] = explanation.profile
    named_effects = [
        (title_cell(f"{title} ({item_id})" if title else item_id), effect)
        for (item_id, effect), title in zip(explanation.history, titles, strict=True)
    ]
    lines = [
        f"{'because of' if effect > 0 else 'despite'} {name} {effect:+.2f}"
        for name, effect in named_effects
        if abs(effect) >= MIN_EFFECT
    ]
    effects_of_parts = {name: effect for name, effect in parts.items() if abs(effect) >= MIN_EFFECT}
    lines.append(f"retrieved with {explanation.score:+.2f} = {_signed(effects_of_parts.items()) or 'nothing'}")
    if explanation.modalities:
        lines.append("made of " + ", ".join(f"{weight:.0%} {name}" for name, weight in explanation.modalities.items()))
    if explanation.features:
        effects = {name: effect for name, effect in explanation.features.items() if abs(effect) >= MIN_EFFECT}
        lines.append(f"moved by {_signed(effects.items()) or 'nothing'}")
    return lines


def _signed(effects: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {effect:+.2f}" for name, effect in effects)
