"""The command line: one command for each verb of the Python API.

Exit codes: 0 done, 1 the input or the bundle is at fault (one line says what and how to go on), 2 wrong usage,
3 `fit` published nothing, 70 a fault of this program, 130 interrupted, 141 the reader of the output went away.
`--debug` shows the traceback.
"""

import io
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated

import typer

from indexing.errors import CommonspaceError, FilterError, UnknownEncoderError
from indexing.runtime.threads import wait_asleep
from retrieval.cli import (
    build,
    edit,
    encoders,
    evaluate,
    export,
    fit,
    inspect,
    maintenance,
    prepare,
    query,
)
from retrieval.cli.display.terminal import ReaderGone, UsageError, say
from retrieval.cli.options.renamed import Command

__all__ = ["app", "main"]

# Some versions of typer bring a copy of click of their own: the base of its usage errors is found through one of them.
UsageProblem: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

AT_FAULT, WRONG_USAGE, INTERNAL, INTERRUPTED, READER_GONE = 1, 2, 70, 130, 141
_WRONG = (UsageError, FilterError, UnknownEncoderError)
CODES = (
    "Exit codes: 0 done; 1 the input or the bundle is at fault; 2 wrong usage; 3 fit published nothing; 70 a fault of "
    "this program; 130 interrupted; 141 the reader of the output went away. --debug shows the traceback of an error."
)
KEPT = "what is finished is kept: run the same command again, and it goes on"
RESUMED = {
    "build": KEPT,
    "add": "what is encoded is kept: run the same command again, and it goes on",
    "fit": KEPT,
    "tune": KEPT,
    "encoders": KEPT,
    "recommend": "with --out FOLDER what is finished is kept: run the same command again, and it goes on",
    "rerank": "with --out FOLDER what is finished is kept: run the same command again, and it goes on",
}
"""What is left of a command that was interrupted, where anything is."""


def _told_version(wanted: bool) -> None:
    if wanted:
        say(f"commonspace {metadata.version('commonspace')}")
        raise typer.Exit


app = typer.Typer(
    name="commonspace",
    help="Cross-modal recommendation and retrieval: build an index, query it, learn from interactions, rerank.",
    epilog=CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def commonspace(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_told_version, help="Say which version this is.")
    ] = False,
) -> None:
    """Cross-modal recommendation and retrieval: build an index, query it, learn from interactions, rerank."""


for command in (build.build, query.search, query.similar, query.recommend, query.rerank):
    app.command(cls=Command)(command)
for learning in (prepare.prepare, fit.fit, fit.tune):
    app.command(cls=Command)(learning)
for validation in (evaluate.evaluate, evaluate.compare):
    app.command(cls=Command)(validation)
for changing in (
    edit.add,
    edit.update,
    edit.delete,
    maintenance.compact,
    maintenance.rollback,
    maintenance.verify,
    maintenance.repair,
):
    app.command(cls=Command)(changing)
for told in (build.info, inspect.inspect, inspect.doctor, export.export):
    app.command(cls=Command)(told)
app.add_typer(encoders.app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    wait_asleep()
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    sys.exit(_run([argument for argument in given if argument != "--debug"], debug))


def _run(arguments: list[str], debug: bool) -> int:
    try:
        code = int(app(arguments, standalone_mode=False, prog_name="commonspace") or 0)
        sys.stdout.flush()
        if code == INTERRUPTED:  # typer makes this of Ctrl-C
            raise KeyboardInterrupt
        return code
    except UsageProblem as error:
        return _usage(error)
    except (KeyboardInterrupt, typer.Abort):
        say(f"commonspace: interrupted; {_afterwards(arguments)}", err=True)
        return INTERRUPTED
    except (BrokenPipeError, ReaderGone):  # whoever read has gone, as `head` does when it has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except (CommonspaceError, OSError) as error:
        if debug:
            raise
        told = error.for_terminal if isinstance(error, CommonspaceError) else str(error)
        # A filter is shown with a mark below the place of its fault.
        lines = told.splitlines() if isinstance(error, FilterError) else [" ".join(told.split())]
        say(f"commonspace: {lines[0]}", *lines[1:], err=True)
        return WRONG_USAGE if isinstance(error, _WRONG) else AT_FAULT
    except Exception as error:
        if debug:
            raise
        told = " ".join(str(error).split())
        say(f"commonspace: internal error: {type(error).__name__}: {told}; see --debug", err=True)
        return INTERNAL


def _usage(error: Exception) -> int:
    """Say how a command is used, as the library that reads the command line would."""
    told = io.StringIO()
    error.show(file=told)  # type: ignore[attr-defined]
    say(*told.getvalue().splitlines(), err=True)
    return int(error.exit_code)  # type: ignore[attr-defined]


def _afterwards(arguments: Sequence[str]) -> str:
    """Say what is left of a command that was interrupted."""
    command = next((one for one in arguments if not one.startswith("-")), "")
    return RESUMED.get(command, "nothing was changed")
