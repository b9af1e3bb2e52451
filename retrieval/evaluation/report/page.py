"""HTML pages and tables: one file without scripts or external resources; all texts are escaped."""

from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

MAX_CHARACTERS = 160  # of a text; longer ones are shortened


@cache
def _frame() -> Template:
    return Template(files("retrieval.evaluation.report").joinpath("report.html").read_text("utf-8"))


def page(title: str, sections: Iterable[str]) -> str:
    """Return a page of sections, which are HTML."""
    return _frame().substitute(title=escaped(title), heading=to_html(title), sections="\n".join(filter(None, sections)))


def escaped(text: str) -> str:
    """Escape a text for an attribute or a title; half surrogate pairs, which no page can hold, become ``?``."""
    return escape(text.encode("utf-8", "replace").decode(), quote=True)


def to_html(text: str) -> str:
    """Return a text as HTML with isolated text direction, shortened if it is very long.

    >>> to_html("<b>")
    '<bdi>&lt;b&gt;</bdi>'
    """
    return f"<bdi>{escaped(text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + '…')}</bdi>"


def section(title: str, *parts: str, note: str = "") -> str:
    """Return a section with a heading; empty if all its parts are."""
    if not any(parts):
        return ""
    note_html = f"<p class='note'>{escaped(note)}</p>\n" if note else ""
    return f"<section>\n<h2>{escaped(title)}</h2>\n{note_html}" + "\n".join(filter(None, parts)) + "\n</section>"


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """Return a table of names and values."""
    lines = "\n".join(f"<tr><th scope='row'>{to_html(name)}</th><td>{to_html(value)}</td></tr>" for name, value in rows)
    return f"<div class='wide'><table><tbody>\n{lines}\n</tbody></table></div>" if lines else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """Return a table with a head; all but the first ``words`` columns are numbers."""
    css_classes = ["" if column < words else " class='number'" for column in range(len(head))]
    head_cells = "".join(
        f"<th scope='col'{css_class}>{to_html(name)}</th>" for name, css_class in zip(head, css_classes, strict=True)
    )
    body = "\n".join(
        "<tr>"
        + "".join(f"<td{css_class}>{to_html(cell)}</td>" for cell, css_class in zip(row, css_classes, strict=True))
        + "</tr>"
        for row in rows
    )
    return f"<div class='wide'><table><thead><tr>{head_cells}</tr></thead><tbody>\n{body}\n</tbody></table></div>"


def number(value: float) -> str:
    """Return a value as text for tables; NaN as a dash.

    >>> number(0.12345), number(float("nan"))
    ('0.1235', '-')
    """
    return "-" if value != value else f"{value:.4f}"


def estimate(mean: float, low: float, high: float) -> str:
    """Return a mean, and its interval on the next line."""
    return f"{number(mean)}\n{number(low)} to {number(high)}"
