"""All output to the terminal: foreign text is shown as it is, and is neither markup nor a command.

No other module of the command line imports rich or prints by itself.
"""

import json
import math
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, NoReturn, TextIO, TypeAlias

import typer
from rich.box import HEAVY_HEAD, SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from indexing.errors import CommonspaceWarning, InputError
from indexing.runtime.safe_text import escaped, visible, without_secrets

Cell: TypeAlias = object | Sequence[object]
"""The content of a cell: one value, or a list or tuple with a value for each line."""

Record: TypeAlias = Literal[
    "bundle",
    "comparison",
    "diagnosis",
    "edit",
    "encoder",
    "encoder_ranking",
    "evaluation",
    "events",
    "export",
    "fit",
    "generation",
    "hit",
    "inspection",
    "job",
    "neighbours",
    "preparation",
    "pull",
    "push",
    "repair",
    "state",
    "tuning",
    "user",
    "variants",
    "verification",
    "written",
]
"""What a line of ``--json`` is."""

MAX_TITLE = 120  # characters of a title
UNLIMITED = 10_000  # columns when no terminal is there: a program reads whole lines
MIN_OTHER_WIDTH = 40  # columns that an id leaves to the other cells


class UsageError(InputError):
    """Options that do not go together, or one that cannot be read."""


@contextmanager
def usage_checked() -> Iterator[None]:
    """Raise faults of options as wrong usage."""
    try:
        yield
    except InputError as error:
        raise UsageError(error.for_terminal) from error


class ReaderGone(Exception):  # noqa: N818 - not an error: `head` reads no more than it shows
    """The reader of standard output has closed it."""


class _Screen(Console):
    """A console that leaves a closed output to `retrieval.cli.main`."""

    def on_broken_pipe(self) -> NoReturn:
        """Raise an error: rich and typer would each exit with a code of their own."""
        raise ReaderGone


def output_console() -> Console:
    """Give standard output, as wide as the terminal, or without a limit when there is none."""
    has_width = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal()
    return _Screen(file=sys.stdout, width=None if has_width else UNLIMITED, markup=False, emoji=False, highlight=False)


def cell_text(value: Cell) -> Text:
    """Give foreign text as rich shows it: without markup, emoji codes or control characters."""
    lines = value if isinstance(value, list | tuple) else [value]
    return Text("\n".join(visible(line) for line in lines), overflow="fold")


def say(*lines: object, err: bool = False) -> None:
    """Print lines of text, on standard output, or on standard error without secrets of the URLs of databases."""
    try:
        for line in lines:
            typer.echo(without_secrets(visible(line)) if err else visible(line), err=err)
    except BrokenPipeError as error:
        raise ReaderGone from error


def note(text: object) -> None:
    """Print a note about the input or the bundle on standard error."""
    say(f"note: {text}", err=True)


_SAID: ContextVar[set[type[Warning]]] = ContextVar("commonspace_said")


def say_no_more(category: type[CommonspaceWarning]) -> None:
    """Print no further warnings of a kind in this command, which has said itself what they are about."""
    if (said := _SAID.get(None)) is not None:
        said.add(category)


@contextmanager
def warnings_noted() -> Iterator[None]:
    """Print warnings of this program as notes, each once; those of others are shown as before."""
    noted: set[str] = set()
    said: set[type[Warning]] = set()
    token = _SAID.set(said)
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_note(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, CommonspaceWarning):
                show(message, category, filename, lineno, file, line)
            elif category not in said and (text := str(message)) not in noted:
                noted.add(text)
                note(text)

        warnings.simplefilter("always", CommonspaceWarning)
        warnings.showwarning = show_note
        try:
            yield
        finally:
            _SAID.reset(token)


def from_stdin(arguments: Sequence[str]) -> list[str]:
    """Give arguments, with the lines of standard input in place of a single dash.

    Raises:
        UsageError: When standard input has no line with anything in it.
    """
    if list(arguments) != ["-"]:
        return list(arguments)
    if not (lines := [line.strip() for line in sys.stdin if line.strip()]):
        raise UsageError("standard input is empty; give one line for each, or no - among the arguments")
    return lines


def title_cell(title: str | None) -> str:
    """Shorten a title to what is shown."""
    title = title or ""
    return title if len(title) <= MAX_TITLE else f"{title[: MAX_TITLE - 1]}…"


def show_table(
    title: str, head: Sequence[str], rows: Iterable[Sequence[Cell]], *, whole: Sequence[str] = (), light: bool = False
) -> None:
    """Print a table under its title; a cell that is too wide is folded, never cut.

    Args:
        title: Printed above the table; empty for none.
        head: Names of the columns; empty for a table without a head.
        rows: A cell for each column.
        whole: Columns that are folded last, like ids, which are copied.
        light: Draw no rules between the columns, so that more fits.
    """
    console, cells = output_console(), [[cell_text(cell) for cell in row] for row in rows]
    table = Table(show_header=bool(head), box=SIMPLE_HEAD if light else HEAVY_HEAD, pad_edge=not light)
    for column in range(len(head) or max(map(len, cells), default=0)):
        name = head[column] if head else ""
        max_width = max((row[column].cell_len for row in cells), default=0)
        no_wrap = name in whole and max_width <= console.width - MIN_OTHER_WIDTH
        table.add_column(cell_text(name), overflow="fold", no_wrap=no_wrap)
    for row in cells:
        table.add_row(*row)
    if title:
        console.print(Text(visible(title), style="italic"), soft_wrap=True)
    if cells:
        console.print(table)


def show_pairs(title: str, pairs: Mapping[str, Cell]) -> None:
    """Print names and values as a small table; each value of a list has a line."""
    show_table(title, (), [(name, value) for name, value in pairs.items()])


def show_json(record: Record, *values: Mapping[str, Any]) -> None:
    """Print JSON Lines: one object a line, which begins with its ``type``; infinity and not-a-number are null.

    Args:
        record: What each object is; docs/reference/json.md describes the keys of each.
        values: The objects.
    """
    utf8 = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"
    try:
        for value in values:
            line = {"type": record} | _finite(value)
            typer.echo(escaped(json.dumps(line, ensure_ascii=not utf8, allow_nan=False)))
    except BrokenPipeError as error:
        raise ReaderGone from error


def _finite(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
