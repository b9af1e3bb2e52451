"""Answers of the tools as text: a line for each item, and lines below it for what is known of it."""

from collections.abc import Iterable, Mapping
from typing import Any

from indexing.runtime.safe_text import visible

MAX_CHARACTERS = 300  # of a value; all of it is in the structured answer
MIN_EFFECT = 0.005  # smaller ones round to zero


def found_as_text(body: Mapping[str, Any]) -> str:
    """Write the items that were found."""
    lines = []
    for hit in body["hits"]:
        title = f" {_shown(hit['title'])}" if hit["title"] else ""
        source = f", from {hit['source']}" if hit["source"] else ""
        lines.append(f"{hit['rank']}. [{_shown(hit['item_id'])}]{title} (score {hit['score']:.4f}{source})")
        given = (hit.get("attributes") or {}).items()
        if known := [(name, value) for name, value in given if value not in ("", [], hit["title"])]:
            lines.append("   " + "; ".join(f"{_shown(name)}: {_shown(value)}" for name, value in known))
        lines += [f"   {line}" for line in reasons_as_text(hit.get("why") or {})]
    if not lines:
        lines.append("No item was found. Ask for something else, or with fewer conditions in `where`.")
    return "\n".join([*lines, *_notes(body)])


def reasons_as_text(why: Mapping[str, Any]) -> list[str]:
    """Write why an item was found."""
    if parts := why.get("parts"):
        return ["because of " + _signed((f"{part['weight']:g} x {part['part']}", part["score"]) for part in parts)]
    if lists := why.get("lists"):
        return ["because of " + ", ".join(f"{name} (place {at['rank']})" for name, at in lists.items())]
    lines = []
    if taken := [(one["item_id"], one["effect"]) for one in why.get("history", ())]:
        lines.append("because of having taken " + _signed(taken))
    sums = [(name, why.get(name, 0.0)) for name in ("content", "behaviour", "popularity", "profile")]
    if said := _signed(sums):
        lines.append(f"made of {said}")
    if said := _signed((why.get("features") or {}).items()):
        lines.append(f"moved by {said}")
    return lines


def catalogue_as_text(body: Mapping[str, Any]) -> str:
    """Write what the catalogue is."""
    learned = [name.replace("_", " ") for name, there in body["learned"].items() if there]
    lines = [
        f"{body['items']} items. Queries may be of {', '.join(body['modalities'])} and of items; "
        f"modes of search: {', '.join(body['modes'])}.",
        f"Learned of users: {', '.join(learned) or 'nothing'}. Users by user_id: {'yes' if body['users'] else 'no'}.",
        "Attributes, with conditions for `where`:",
    ]
    for attribute in body["attributes"]:
        more = ""
        if (distinct := attribute.get("distinct") or 0) > len(attribute["examples"]):
            more = f" and {distinct - len(attribute['examples'])} more"
        examples = "to".join(f" {_shown(one)} " for one in attribute["examples"]).strip() if "min" in attribute else (
            ", ".join(map(_shown, attribute["examples"]))
        )  # fmt: skip
        filters = " | ".join(map(_shown, attribute["filters"]))
        lines.append(f"- {_shown(attribute['name'])} ({attribute['type']}): {examples}{more}; as {filters}")
    return "\n".join([*lines, *_notes(body)])


def _signed(effects: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{_shown(name)} {effect:+.2f}" for name, effect in effects if abs(effect) >= MIN_EFFECT)


def _notes(body: Mapping[str, Any]) -> list[str]:
    return [f"Note: {visible(note)}" for note in body.get("notes") or ()]


def _shown(value: object) -> str:
    """Give a value of the catalogue in one line."""
    text = visible(", ".join(map(str, value)) if isinstance(value, list) else value)
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"
