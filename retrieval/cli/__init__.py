"""The command line: one command for each verb of the Python API.

Exit codes: 0 done, 1 the input or the bundle is at fault (one line says what and how to go on), 2 wrong usage,
70 a fault of this program, 130 interrupted. `--debug` shows the traceback.
"""

import sys
from collections.abc import Sequence

import typer

from indexing.errors import CommonspaceError
from retrieval.cli import (
    build,
    compare,
    doctor,
    edit,
    encoders,
    evaluate,
    export,
    inspect,
    learn,
    prepare,
    query,
    upkeep,
)

__all__ = ["app", "main"]

# Some versions of typer bring a copy of click of their own: the base of its usage errors is found through one of them.
UsageProblem: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    name="commonspace",
    help="Cross-modal recommendation and retrieval: build an index, query it, learn from interactions, rerank.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (build.build, query.search, query.similar, query.recommend, query.rerank):
    app.command()(command)
for learning in (prepare.prepare, learn.fit, learn.tune):
    app.command()(learning)
for judging in (evaluate.evaluate, compare.compare):
    app.command()(judging)
for changing in (edit.add, edit.delete, upkeep.compact, upkeep.rollback, upkeep.verify, upkeep.repair):
    app.command()(changing)
for told in (build.info, inspect.inspect, doctor.doctor, export.export):
    app.command()(told)
app.add_typer(encoders.app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    sys.exit(_run([argument for argument in given if argument != "--debug"], debug))


def _run(arguments: list[str], debug: bool) -> int:
    try:
        return int(app(arguments, standalone_mode=False, prog_name="commonspace") or 0)
    except UsageProblem as error:
        error.show()  # type: ignore[attr-defined]
        return int(error.exit_code)  # type: ignore[attr-defined]
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("commonspace: interrupted; what was finished is kept, run the same command again", err=True)
        return 130
    except (CommonspaceError, OSError) as error:
        if debug:
            raise
        told = error.for_terminal if isinstance(error, CommonspaceError) else str(error)
        typer.echo(f"commonspace: {' '.join(told.split())}", err=True)
        return 1
    except Exception as error:
        if debug:
            raise
        typer.echo(f"commonspace: internal error: {type(error).__name__}: {error}; see --debug", err=True)
        return 70
