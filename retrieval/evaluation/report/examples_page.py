"""How the best and the worst queries are shown: history, list, what was relevant, and reasons."""

from collections.abc import Mapping, Sequence

from retrieval.evaluation.report.cards import Card
from retrieval.evaluation.report.examples import WANTED, Example
from retrieval.evaluation.report.page import quoted, section, shown


def examples_section(title: str, measure: str, examples: Sequence[Example], cards: Mapping[str, Card]) -> str:
    """Give some queries under a heading; nothing when there are none."""
    return section(f"{title} by {measure}", *(_example(example, measure, cards) for example in examples))


def _example(example: Example, measure: str, cards: Mapping[str, Card]) -> str:
    relevant = set(example.relevant)
    found = "".join(
        _card(hit.item_id, cards).figure(f"{hit.rank} · {hit.score:.3f}", relevant=hit.item_id in relevant)
        for hit in example.hits
    )
    reasons = "".join(f"<li>{shown(reason)}</li>" for reason in example.reasons)
    more = len(example.relevant) - WANTED
    return (
        f"<article><h3>{shown(example.query_id)} <span>{quoted(measure)} {example.value:.4f}</span></h3>"
        f"<ul>{reasons}</ul>"
        + _row("history", "".join(_card(item_id, cards).figure() for item_id in example.history), small=True)
        + _row("found", found or "nothing")
        + _row(
            "relevant" + (f" ({more} more)" if more > 0 else ""),
            "".join(_card(item_id, cards).figure() for item_id in example.relevant[:WANTED]),
            small=True,
        )
        + "</article>"
    )


def _card(item_id: str, cards: Mapping[str, Card]) -> Card:
    return cards.get(item_id) or Card(item_id, "")


def _row(name: str, content: str, *, small: bool = False) -> str:
    return f"<div class='row{' small' if small else ''}'><b>{quoted(name)}</b>{content}</div>" if content else ""
