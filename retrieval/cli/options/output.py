"""Options that say where results go: `--json`, `--out` and other files."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from retrieval.batch.table_files import check_folder, check_kind, check_out
from retrieval.cli.display.curves import check_format
from retrieval.cli.display.terminal import usage_checked

OUTPUT = "Output"


def _checked(check: Callable[[Path], object]) -> Callable[[Path | None], Path | None]:
    """Check the name of an output before any work."""

    def check_name(path: Path | None) -> Path | None:
        if path is not None:
            with usage_checked():
                check(path)
        return path

    return check_name


TABLE, FOLDER, DRAWING = _checked(check_out), _checked(check_folder), _checked(check_format)
PAGE, JSON_FILE = _checked(partial(check_kind, ending=".html")), _checked(partial(check_kind, ending=".json"))

Json = Annotated[bool, typer.Option("--json", rich_help_panel=OUTPUT, help="Print JSON Lines instead of tables.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        callback=TABLE,
        rich_help_panel=OUTPUT,
        help="Write the answers to this .parquet, .csv or .jsonl file, or to a folder.",
    ),
]
OutFolder = Annotated[Path, typer.Option("--out", callback=FOLDER, help="Folder to write.")]
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
        help="Write what was left out, and why, to this .json file.",
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
        out: A file or folder in place of the terminal.
        as_json: Print JSON.
    """

    out: Out = None
    as_json: Json = False
