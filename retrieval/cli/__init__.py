"""The command line: one command for each verb of the Python API.

Exit codes: 0 done, 1 the input or the bundle is at fault (one line says what, with a hint), 2 wrong usage,
3 `fit` published nothing, 70 a fault of this program, 130 interrupted, 141 the reader of the output went away.
`--debug` shows the traceback.
"""

import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Annotated

import typer

from indexing.errors import CommonspaceError, FilterError, UnknownEncoderError
from retrieval.cli.commands import (
    build,
    completion,
    edit,
    encoders,
    evaluate,
    events,
    fit,
    inspect,
    maintenance,
    mcp,
    prepare,
    query,
    serve,
)
from retrieval.cli.display.terminal import ReaderGone, UsageError, say, warnings_noted
from retrieval.cli.options.command import DEBUG_HELP, Command, CommandGroups, UsageProblem, with_groups

__all__ = ["app", "main"]

BAD_INPUT, WRONG_USAGE, INTERNAL, INTERRUPTED, READER_GONE = 1, 2, 70, 130, 141
_WRONG_USAGE_ERRORS = (UsageError, FilterError, UnknownEncoderError)
EXIT_CODES = (
    "Exit codes: 0 done; 1 the input or the bundle is at fault; 2 wrong usage; 3 fit published nothing; 70 a fault of "
    "this program; 130 interrupted; 141 the reader of the output went away. --debug shows the traceback of an error."
)
CONTINUES = "what is finished is kept: run the same command again, and it continues"
RESUMED = {
    "build": CONTINUES,
    "add": "what is encoded is kept: run the same command again, and it continues",
    "fit": CONTINUES,
    "tune": CONTINUES,
    "encoders": CONTINUES,
    "push": "what is uploaded is taken over by the next push within half a day",
    "pull": CONTINUES,
    "similar": "with --all what is finished is kept: run the same command again, and it continues",
    "recommend": "with --out FOLDER what is finished is kept: run the same command again, and it continues",
    "rerank": "with --out FOLDER what is finished is kept: run the same command again, and it continues",
}
"""What is left of a command that was interrupted; nothing of the others."""


COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "Build": (inspect.inspect, build.build),
    "Query": (
        query.search,
        query.similar,
        query.complements,
        query.next_items,
        query.recommend,
        query.users_for,
        query.top,
        query.rerank,
    ),
    "Serve": (serve.serve, mcp.mcp),
    "Learn": (prepare.prepare, fit.fit, fit.tune),
    "Evaluate": (evaluate.evaluate, evaluate.compare),
    "Maintain": (
        edit.add,
        edit.update,
        edit.delete,
        maintenance.words,
        inspect.info,
        inspect.doctor,
        maintenance.verify,
        maintenance.repair,
        maintenance.compact,
        maintenance.publish,
        maintenance.rollback,
        maintenance.export,
        maintenance.push,
        maintenance.pull,
        maintenance.states,
        completion.completion,
    ),
}
"""The commands by the section of the help that they are in."""


def _show_version(requested: bool) -> None:
    if requested:
        say(f"commonspace {metadata.version('commonspace')}")
        raise typer.Exit


app = typer.Typer(
    name="commonspace",
    cls=CommandGroups,
    help="Cross-modal recommendation and retrieval: build an index, query it, learn from interactions, rerank.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,  # `commonspace completion` prints the script
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def commonspace(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help=f"{DEBUG_HELP} Every command takes it.")] = False,
) -> None:
    """Cross-modal recommendation and retrieval: build an index, query it, learn from interactions, rerank."""


for section, functions in COMMANDS.items():
    for function in functions:
        app.command(cls=Command, rich_help_panel=section)(with_groups(function))
    if section == "Build":
        app.add_typer(encoders.app, rich_help_panel=section)
    if section == "Maintain":
        app.add_typer(events.app, rich_help_panel=section)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    if completion.COMPLETE_VAR in os.environ:
        completion.register_shells()
    all_arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in all_arguments
    sys.exit(_run([argument for argument in all_arguments if argument != "--debug"], debug))


def _run(arguments: list[str], debug: bool) -> int:
    try:
        with warnings_noted():
            code = int(app(arguments, standalone_mode=False, prog_name="commonspace") or 0)
        sys.stdout.flush()
        if code == INTERRUPTED:  # typer makes this of Ctrl-C
            raise KeyboardInterrupt
        return code
    except UsageProblem as error:
        return _usage(error)
    except (KeyboardInterrupt, typer.Abort):
        say(f"commonspace: interrupted; {_resume_hint(arguments)}", err=True)
        return INTERRUPTED
    except (BrokenPipeError, ReaderGone):  # as of `head`, which reads no more than it shows
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except (CommonspaceError, OSError) as error:
        if debug:
            raise
        message = error.for_terminal if isinstance(error, CommonspaceError) else str(error)
        # A filter is shown with a mark below the place of its fault.
        lines = message.splitlines() if isinstance(error, FilterError) else [" ".join(message.split())]
        say(f"commonspace: {lines[0]}", *lines[1:], err=True)
        return WRONG_USAGE if isinstance(error, _WRONG_USAGE_ERRORS) else BAD_INPUT
    except Exception as error:
        if debug:
            raise
        message = " ".join(str(error).split())
        say(f"commonspace: internal error: {type(error).__name__}: {message}; see --debug", err=True)
        return INTERNAL


def _usage(error: Exception) -> int:
    """Show how a command is used, as the library that reads the command line would."""
    usage = io.StringIO()
    error.show(file=usage)  # type: ignore[attr-defined]
    say(*usage.getvalue().splitlines(), err=True)
    return int(error.exit_code)  # type: ignore[attr-defined]


def _resume_hint(arguments: Sequence[str]) -> str:
    """Say what is left of a command that was interrupted."""
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    return RESUMED.get(command, "nothing was changed")
