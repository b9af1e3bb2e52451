"""One self-contained HTML page of what a source holds: no script, nothing fetched, every text escaped."""

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from string import Template
from typing import Any

from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.cleaning import clean_text
from indexing.catalogue.medium import media_in
from indexing.diagnostics.inspect import Groups, Inspection, numbered_rows
from indexing.media.files import Kind
from indexing.media.images import ImageLimits
from indexing.store.shared_pool import thumbnail

SIDE = 112  # pixels of a thumbnail
SHOWN_TEXT = 120  # characters
PAGE = Template(
    """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>commonspace: $title</title>
<style>
  :root { color-scheme: light dark; --line: #8884; }
  body { font: 15px/1.45 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
  h2 { margin: 2.5rem 0 .3rem; }
  .row { display: flex; flex-wrap: wrap; gap: .6rem; padding: .6rem 0; border-top: 1px solid var(--line); }
  figure { flex: 0 0 7.4rem; margin: 0; text-align: center; }
  figure img { width: 7rem; height: 7rem; object-fit: contain; background: #fff; border: 1px solid var(--line);
    border-radius: 6px; }
  figcaption { font-size: .8rem; overflow-wrap: anywhere; }
  figcaption span { display: block; opacity: .65; }
  td, th { text-align: left; vertical-align: top; padding: .15rem 1rem .15rem 0; overflow-wrap: anywhere; }
</style>
<h1>$title</h1>
$sections
</html>
"""
)


@dataclass(frozen=True)
class Card:
    """One item to be shown: its id, the start of its text, and a small JPEG of its picture if that can be used."""

    item_id: str
    text: str
    picture: bytes | None


def inspection_page(inspection: Inspection, catalogue: Catalogue, limits: ImageLimits | None = None) -> str:
    """Return the whole page as HTML; the items that it shows are read from the source once more."""
    same_text, same_image = inspection.text["duplicates"], inspection.image["duplicates"]
    near = inspection.image["near_duplicates"]
    rows = {
        *inspection.sampled,
        *(
            member["source_row"]
            for groups in (same_text, same_image, near)
            for group in groups.examples
            for member in group
        ),
    }
    cards = _cards(catalogue, rows, inspection.limit, limits or ImageLimits())
    sections = [
        _table("What there is", overview(inspection).items()),
        _section("Some items, drawn at random", [_figures(inspection.sampled, cards)]),
        _grouped("Pictures that are the same", same_image, cards),
        _grouped("Pictures that look alike", near, cards),
        _grouped("Texts that are the same", same_text, cards),
        _listed("Pictures that cannot be used", inspection.image["unusable"]["examples"]),
        _listed("Rows that are rejected", inspection.rejected_examples),
    ]
    return PAGE.substitute(title=_safe(inspection.source), sections="\n".join(filter(None, sections)))


def overview(inspection: Inspection) -> dict[str, str]:
    """Return what matters by name, as short texts for people."""
    text, image = inspection.text, inspection.image
    coverage = [
        f"{name} {count} ({count / max(inspection.kept, 1):.0%})" for name, count in inspection.coverage.items()
    ]
    size = text["bytes"] + image["bytes"] + inspection.audio.get("bytes", 0)
    return {
        "rows": f"{inspection.rows}" + (f" (the first ones; --limit {inspection.limit})" if inspection.limit else ""),
        "kept": f"{inspection.kept}",
        "rejected": _counts(inspection.rejected) or "none",
        **({"left out": _counts(inspection.left_out)} if inspection.left_out else {}),
        "coverage": ", ".join(coverage),
        "characters of text": _counts(text["characters"]) or "no text",
        "language (a guess)": _counts(text["language_guess"]) or "no text",
        "same text": _summed(text["duplicates"]),
        "picture formats": _counts(image["formats"]) or "no picture",
        "picture width": _counts(image["width"]) or "no picture",
        "picture height": _counts(image["height"]) or "no picture",
        "picture bytes": _counts(image["file_bytes"]) or "no picture",
        "unusable pictures": _counts(image["unusable"]["reasons"]) or "none",
        "same picture": _summed(image["duplicates"]),
        "similar pictures": _summed(image["near_duplicates"])
        + (f"; {image['without_detail']} without detail not compared" if image["without_detail"] else ""),
        "size": f"{size / 1e6:.1f} MB of text, pictures and sounds",
    }


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _summed(groups: Groups) -> str:
    return f"{groups.items} items in {groups.groups} groups" if groups.groups else "none"


def _cards(catalogue: Catalogue, wanted: set[int], limit: int | None, limits: ImageLimits) -> dict[int, Card]:
    columns, cards = catalogue.columns, dict[int, Card]()
    root = catalogue.media_root
    names = [columns.item_id, *columns.text, *columns.media]
    for row, values in numbered_rows(catalogue, names, limit):
        if row in wanted:
            text = clean_text([values[name] for name in columns.text], Counter[str]()) or ""
            pictures = (m.source for m in media_in(values, columns, root) if m.kind is Kind.IMAGE and m.source)
            picture = next(pictures, None)
            item_id = str(values[columns.item_id])
            cards[row] = Card(item_id, text[:SHOWN_TEXT], thumbnail(picture, limits, SIDE) if picture else None)
        if len(cards) == len(wanted):
            break
    return cards


def _section(title: str, rows: Iterable[str]) -> str:
    body = "\n".join(f"<div class='row'>{row}</div>" for row in rows if row)
    return f"<h2>{escape(title)}</h2>\n{body}" if body else ""


def _grouped(title: str, groups: Groups, cards: Mapping[int, Card]) -> str:
    rows = [_figures([member["source_row"] for member in group], cards) for group in groups.examples]
    return _section(f"{title}: {_summed(groups)}", rows)


def _listed(title: str, examples: list[dict[str, Any]]) -> str:
    return (
        _table(title, ((f"row {e['source_row']}: {e['item_id'] or ''}", e["reason"]) for e in examples))
        if examples
        else ""
    )


def _table(title: str, pairs: Iterable[tuple[str, str]]) -> str:
    lines = "\n".join(f"<tr><th>{_safe(name)}</th><td>{_safe(value)}</td></tr>" for name, value in pairs)
    return f"<h2>{escape(title)}</h2>\n<table>{lines}</table>"


def _figures(rows: Iterable[int], cards: Mapping[int, Card]) -> str:
    return "".join(_figure(cards[row]) for row in rows if row in cards)


def _figure(card: Card) -> str:
    name, picture = _safe(card.item_id), ""
    if card.picture:
        picture = f"<img src='data:image/jpeg;base64,{b64encode(card.picture).decode()}' alt='{name}' loading='lazy'>"
    return f"<figure>{picture}<figcaption>{name}<span>{_safe(card.text)}</span></figcaption></figure>"


def _safe(text: str) -> str:
    """Escape what HTML gives a meaning, and half surrogate pairs, which no page can hold."""
    return escape(text.encode("utf-8", "replace").decode(), quote=True)
