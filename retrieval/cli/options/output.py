"""Options that say where results go: `--json`, `--out` and other files."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from indexing.catalogue.readers.sql import is_sql_url
from retrieval.batch.results import StandardOutput, check_target
from retrieval.batch.table_files import check_folder, check_kind, check_out
from retrieval.cli.display.curves import check_format
from retrieval.cli.display.terminal import UsageError, usage_checked

OUTPUT = "Output"


def _checked(check: Callable[[Any], object]) -> Callable[[Any], Any]:
    """Check the name of an output before any work."""

    def check_name(path: Any) -> Any:  # noqa: ANN401 - a path, or the URL of a table
        if path is not None:
            with usage_checked():
                check(path)
        return path

    return check_name


TABLE, FOLDER, DRAWING = _checked(check_out), _checked(check_folder), _checked(check_format)
PAGE, JSON_FILE = _checked(partial(check_kind, ending=".html")), _checked(partial(check_kind, ending=".json"))

Json = Annotated[bool, typer.Option("--json", rich_help_panel=OUTPUT, help="Print JSON Lines instead of tables.")]
Format = Literal["csv", "json", "parquet"]
FormatOption = Annotated[
    Format | None,
    typer.Option("--format", rich_help_panel=OUTPUT, help="Print the answers as CSV, JSON Lines or Parquet."),
]


def _file_or_table(text: str) -> Path | str:
    return text if is_sql_url(text) else Path(text)


def folder_or_url(text: str) -> Path | str:
    """Read a path, or a URL, which stays text."""
    return text if "://" in text else Path(text)


def _checked_folder(out: Path | str) -> Path | str:
    return out if isinstance(out, str) else FOLDER(out)


Out = Annotated[
    Any,  # a path, or the URL of a table
    typer.Option(
        "--out",
        parser=_file_or_table,
        metavar="PATH",
        callback=_checked(check_target),
        rich_help_panel=OUTPUT,
        help="Write the answers to this .parquet, .csv or .jsonl file, to a folder, or to a table by its URL.",
    ),
]
OutFolder = Annotated[Path, typer.Option("--out", callback=FOLDER, help="Folder to write.")]
OutFolderOrUrl = Annotated[
    Any,  # a path, or a URL as text
    typer.Option("--out", parser=folder_or_url, metavar="PATH", callback=_checked_folder, help="Folder to write."),
]
OutJson = Annotated[Path, typer.Option("--out", callback=JSON_FILE, help="JSON file to write.")]
OutTable = Annotated[Path, typer.Argument(callback=TABLE, help="The .parquet, .csv or .jsonl file to write.")]
Html = Annotated[
    Path | None,
    typer.Option("--html", callback=PAGE, rich_help_panel=OUTPUT, help="Also write a page to this .html file."),
]
LossCurve = Annotated[
    Path | None,
    typer.Option(
        "--loss-curve",
        callback=DRAWING,
        rich_help_panel=OUTPUT,
        help="Draw the loss of each trained part by epoch into this .html file.",
    ),
]
RecallCurve = Annotated[
    Path | None,
    typer.Option(
        "--recall-curve",
        callback=DRAWING,
        rich_help_panel=OUTPUT,
        help="Draw recall against queries per second into this .html file.",
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report",
        callback=JSON_FILE,
        rich_help_panel=OUTPUT,
        help="Write the removed interactions, by reason, to this .json file.",
    ),
]
Save = Annotated[
    Path | None,
    typer.Option(
        "--save",
        callback=JSON_FILE,
        rich_help_panel=OUTPUT,
        help="Write the values of every query to this .json file, for `commonspace compare`.",
    ),
]
MetricsOut = Annotated[
    Path | None,
    typer.Option(
        "--metrics-out",
        callback=JSON_FILE,
        rich_help_panel=OUTPUT,
        help="Write flat names and numbers to this .json file, for MLflow or TensorBoard.",
    ),
]


@dataclass(frozen=True)
class OutputOptions:
    """Where answers go.

    Attributes:
        out: A file, a folder, the URL of a table, or `STANDARD_OUTPUT` with a format, in place of a table for people.
        as_json: Print JSON Lines.
        form: How answers are printed.
    """

    out: Out = None
    as_json: Json = False
    form: FormatOption = None

    def __post_init__(self) -> None:
        if self.form is None:
            return
        if self.out is not None:
            raise UsageError(
                "--format says how answers are printed; with --out the ending of its name does: leave one out"
            )
        if self.as_json and self.form != "json":
            raise UsageError(f"--json and --format {self.form} are two formats; give one")
        if self.form == "json":
            object.__setattr__(self, "as_json", True)
        else:
            object.__setattr__(self, "out", StandardOutput(self.form))
