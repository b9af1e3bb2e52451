"""How commands are declared: groups of options as dataclasses, help in sections, and former names of options."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from retrieval.cli.display.terminal import UsageError, say

# Some versions of typer bring a copy of click of their own: the base of its usage errors is found through one of them.
UsageProblem: type[Exception] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")

DEBUG_HELP = "Show the traceback of an error."
RENAMED: dict[str, tuple[str, ...]] = {
    "--audio": ("--audio-column",),
    "--beyond": ("--beyond-accuracy",),
    "--bots": ("--drop-bots",),
    "--chunk": ("--chunk-size",),
    "--curve": ("--recall-curve",),
    "--cut": ("--split",),
    "--depth": ("--num-candidates",),
    "--events": ("--event-weights",),
    "--frames": ("--num-frames",),
    "--history": ("--history-rows",),
    "--id": ("--id-column",),
    "--image": ("--image-column",),
    "--images": ("--image-dir",),
    "--index-latency": ("--max-latency-ms",),
    "--index-memory": ("--max-index-memory",),
    "--item": ("--item-column",),
    "--label": ("--label-column",),
    "--losses": ("--loss-curve", "--breakdown"),
    "--max-memory": ("--max-decode-memory",),
    "--max-seconds": ("--max-decode-seconds",),
    "--no-bots": ("--keep-bots",),
    "--on": ("--source",),
    "--only": ("--rows",),
    "--pushed": ("--shilling",),
    "--relevant": ("--relevant-rows",),
    "--sample": ("--sample-size",),
    "--text": ("--text-column",),
    "--time": ("--time-column",),
    "--user": ("--user-column",),
    "--vector": ("--vector-column",),
    "--video": ("--video-column",),
    "--weight": ("--weight-column",),
    "--work": ("--checkpoint-dir",),
}
"""By the former name the new ones; a command has one of them at most. A name that it still has keeps its meaning."""

MOVED = {
    "--apart": '{"diversify": {"method": "caps", "max_similarity": 0.9}}',
    "--attribute": '{"diversify": {"attribute": "genres"}}',
    "--cap": '{"diversify": {"method": "caps", "caps": {"genres": 3}}}',
    "--page": '{"diversify": {"page": 10}}',
    "--sharpness": '{"diversify": {"sharpness": 2}}',
    "--strength": '{"diversify": {"strength": 0.3}}',
}
"""Options that are keys of the file of `--postprocess` now."""


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command whose options are also the fields of the dataclasses that its parameters are.

    Typer reads a signature: it gets one parameter for each field, and the command gets the dataclass.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            types = get_type_hints(groups[name], include_extras=True)
            parameters += [_parameter(field.name, types[field.name], _default(field)) for field in fields(groups[name])]
        else:
            parameters.append(_parameter(name, hints[name], parameter.default))

    def wrapper(**options: Any) -> None:  # noqa: ANN401 - options of every type
        for name, group in groups.items():
            options[name] = group(**{field.name: options.pop(field.name) for field in fields(group)})
        command(**options)

    wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return wrapper


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:  # noqa: ANN401 - options of every type
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _default(field: Field[Any]) -> Any:  # noqa: ANN401 - options of every type
    return inspect.Parameter.empty if field.default is MISSING else field.default


class Command(TyperCommand):
    """A command that shows its options in sections, and also takes their former names."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer brings its own copy of click
        """Write arguments, then options, those with a panel under its name."""
        records: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": [("--debug", DEBUG_HELP)]}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                section = "Arguments" if param.param_type_name == "argument" else "Options"
                records.setdefault(getattr(param, "rich_help_panel", None) or section, []).append(record)
        _write_sections(formatter, records)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer brings its own copy of click
        """Read the arguments, with new names in place of former ones.

        Raises:
            UsageError: For an option that is a key of `--postprocess` now.
        """
        try:
            return list(super().parse_args(ctx, self._renamed(args)))
        except UsageProblem as error:
            if hasattr(error, "possibilities"):  # of an unknown option
                options = [name for param in self.get_params(ctx) for name in (*param.opts, *param.secondary_opts)]
                meant = _suggestion(str(error.option_name), options)  # type: ignore[attr-defined]
                error.possibilities = None
                error.message = f"{error.message}{meant}"  # type: ignore[attr-defined]
            raise

    def _renamed(self, args: Sequence[str]) -> list[str]:
        options = {name for param in self.params for name in (*param.opts, *param.secondary_opts)}
        current: list[str] = []
        for position, argument in enumerate(args):
            if argument == "--":
                return [*current, *args[position:]]
            name, equals, value = argument.partition("=")
            if name in MOVED and name not in options and "--postprocess" in options:
                raise UsageError(f"{name} is a key of --postprocess FILE now; write {MOVED[name]} into the file")
            new_name = next(
                (candidate for candidate in RENAMED.get(name, ()) if candidate in options and name not in options), None
            )
            if new_name is not None:
                say(f"note: {name} is called {new_name} now; the next version takes the new name alone", err=True)
            current.append(argument if new_name is None else f"{new_name}{equals}{value}")
        return current


def _suggestion(option: str, options: Sequence[str]) -> str:
    """Suggest the only option that begins so, or the one that is spelled nearly so; nothing where there is none."""
    completions = [name for name in options if name.startswith(option) and len(option) > len("--x")]
    suggestions = completions if len(completions) == 1 else get_close_matches(option, options, n=1, cutoff=0.75)
    return f". Did you mean {suggestions[0]}?" if suggestions else ""


class CommandGroups(TyperGroup):
    """A program that shows its commands in sections.

    Typer shows panels only through rich, which would read square brackets in help as markup, and end in a way of its
    own where the reader of the output has gone.
    """

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer brings its own copy of click
        """Write the commands, each under the name of its panel."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        limit = formatter.width - 6 - max(map(len, commands))
        records: dict[str, list[tuple[str, str]]] = {}
        for name, command in commands.items():
            if command is not None and not command.hidden:
                panel = getattr(command, "rich_help_panel", None)
                section = panel if isinstance(panel, str) else "Commands"
                records.setdefault(section, []).append((name, command.get_short_help_str(limit)))
        _write_sections(formatter, records)


def _write_sections(formatter: Any, records: dict[str, list[tuple[str, str]]]) -> None:  # noqa: ANN401
    for section, lines in records.items():
        if lines:
            with formatter.section(section):
                formatter.write_dl(lines)
