"""Former names of options: they work for one more version, and the terminal names the new one."""

from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

from retrieval.cli.display.terminal import say

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


class Command(TyperCommand):
    """A command that also takes the former names of its options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer brings its own copy of click
        """Read the arguments, with new names in place of former ones."""
        return list(super().parse_args(ctx, self._renamed(args)))

    def _renamed(self, args: Sequence[str]) -> list[str]:
        options = {name for param in self.params for name in (*param.opts, *param.secondary_opts)}
        current: list[str] = []
        for position, argument in enumerate(args):
            if argument == "--":
                return [*current, *args[position:]]
            name, equals, value = argument.partition("=")
            new = next((one for one in RENAMED.get(name, ()) if one in options and name not in options), None)
            if new is not None:
                say(f"note: {name} is called {new} now; the next version takes the new name alone", err=True)
            current.append(argument if new is None else f"{new}{equals}{value}")
        return current
