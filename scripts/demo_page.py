"""One self-contained HTML page of ranked lists with pictures: no script, nothing fetched."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from string import Template

from scripts.drawings import Drawing

PAGE = Template(
    """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>commonspace: the sample</title>
<style>
  :root { color-scheme: light dark; --line: #8884; --soft: #8882; }
  body { font: 15px/1.45 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
  h2 { margin: 2.5rem 0 .3rem; }
  .list { display: flex; gap: .6rem; overflow-x: auto; padding: .6rem 0; border-top: 1px solid var(--line); }
  .query { flex: 0 0 11rem; font-weight: 600; }
  .query span { display: block; font-weight: 400; opacity: .7; }
  figure { flex: 0 0 7.4rem; margin: 0; text-align: center; }
  figure img { width: 7rem; height: 7rem; object-fit: contain; background: #fff; border: 1px solid var(--line);
    border-radius: 6px; }
  figure.small img { width: 4rem; height: 4rem; }
  figure.small { flex-basis: 4.4rem; }
  figure.unseen img { border: 2px solid #2a7; }
  figcaption { font-size: .8rem; overflow-wrap: anywhere; }
  figcaption span { opacity: .65; }
  .past { display: flex; flex-wrap: wrap; gap: .2rem; }
  .past figcaption { display: none; }
</style>
<h1>$items drawings in one space</h1>
<p>Encoded by the pocket encoder, which ships with the package; $unseen of the drawings (green frame) carry titles
it was never trained on. The users are simulated. Drawings: Open Clip Art, public domain.</p>
$sections
</html>
"""
)


@dataclass(frozen=True)
class Ranked:
    """One list: its query (a text, or drawings), a remark on it, and what was found with what score."""

    text: str
    remark: str
    asked: Sequence[Drawing]
    found: Sequence[tuple[Drawing, float]]


@dataclass(frozen=True)
class Section:
    """Lists of one kind under a heading."""

    title: str
    lists: Sequence[Ranked]


def page(sections: Sequence[Section], drawings: Sequence[Drawing]) -> str:
    """Give the whole page as HTML."""
    return PAGE.substitute(
        items=len(drawings),
        unseen=sum(drawing.unseen for drawing in drawings),
        sections="\n".join(_section(section) for section in sections),
    )


def _section(section: Section) -> str:
    return f"<h2>{escape(section.title)}</h2>\n" + "\n".join(_ranked(ranked) for ranked in section.lists)


def _ranked(ranked: Ranked) -> str:
    asked = "".join(_figure(drawing, "small") for drawing in ranked.asked)
    query = f"{escape(ranked.text)}<span>{escape(ranked.remark)}</span><div class='past'>{asked}</div>"
    found = "".join(_figure(drawing, "", f"{score:.3f}") for drawing, score in ranked.found)
    return f"<div class='list'><div class='query'>{query}</div>{found}</div>"


def _figure(drawing: Drawing, size: str, score: str = "") -> str:
    kind = " ".join(filter(None, (size, "unseen" if drawing.unseen else "")))
    source = f"data:{drawing.media_type};base64,{b64encode(drawing.picture).decode()}"
    title = escape(drawing.title, quote=True)
    return (
        f"<figure class='{kind}'><img src='{source}' alt='{title}' title='{title}' loading='lazy'>"
        f"<figcaption>{title} <span>{score}</span></figcaption></figure>"
    )
