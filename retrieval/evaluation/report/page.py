"""The frame of a page and its tables: one HTML file, no script, nothing fetched, every text from outside inert."""

from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

LONGEST = 160  # characters of a text that are shown


@cache
def _frame() -> Template:
    return Template(files("retrieval.evaluation.report").joinpath("report.html").read_text("utf-8"))


def page(title: str, sections: Iterable[str]) -> str:
    """Give a whole page of sections that are HTML already."""
    return _frame().substitute(title=quoted(title), heading=shown(title), sections="\n".join(filter(None, sections)))


def quoted(text: str) -> str:
    """Escape a text for an attribute or a title; half surrogate pairs, which no page can hold, become ``?``."""
    return escape(text.encode("utf-8", "replace").decode(), quote=True)


def shown(text: str) -> str:
    """Give a text as HTML that cannot turn the direction of what stands beside it, cut where it is very long.

    >>> shown("<b>")
    '<bdi>&lt;b&gt;</bdi>'
    """
    return f"<bdi>{quoted(text if len(text) <= LONGEST else text[: LONGEST - 1] + '…')}</bdi>"


def section(title: str, *parts: str, note: str = "") -> str:
    """Give a heading with what stands under it; nothing when there is nothing."""
    if not any(parts):
        return ""
    said = f"<p class='note'>{quoted(note)}</p>\n" if note else ""
    return f"<section>\n<h2>{quoted(title)}</h2>\n{said}" + "\n".join(filter(None, parts)) + "\n</section>"


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """Give names and values as a table."""
    lines = "\n".join(f"<tr><th scope='row'>{shown(name)}</th><td>{shown(value)}</td></tr>" for name, value in rows)
    return f"<div class='wide'><table><tbody>\n{lines}\n</tbody></table></div>" if lines else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """Give a table with a head; all but the first ``words`` columns are numbers."""
    kind = ["" if column < words else " class='number'" for column in range(len(head))]
    top = "".join(f"<th scope='col'{k}>{shown(name)}</th>" for name, k in zip(head, kind, strict=True))
    lines = "\n".join(
        "<tr>" + "".join(f"<td{k}>{shown(cell)}</td>" for cell, k in zip(row, kind, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<div class='wide'><table><thead><tr>{top}</tr></thead><tbody>\n{lines}\n</tbody></table></div>"


def number(value: float) -> str:
    """Give a value as it stands in tables; one that does not exist as a dash.

    >>> number(0.12345), number(float("nan"))
    ('0.1235', '-')
    """
    return "-" if value != value else f"{value:.4f}"


def estimate(mean: float, low: float, high: float) -> str:
    """Give a mean, and below it its interval."""
    return f"{number(mean)}\n{number(low)} to {number(high)}"
