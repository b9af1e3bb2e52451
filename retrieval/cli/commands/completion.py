"""`commonspace completion`: the script by which a shell completes commands and options."""

from enum import StrEnum
from typing import Annotated

import typer
from typer import completion as typer_completion

from retrieval.cli.display.terminal import say

PROGRAM, COMPLETE_VAR = "commonspace", "_COMMONSPACE_COMPLETE"


class Shell(StrEnum):
    """Shells that can complete commands."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="Shell that the script is for.")]) -> None:
    """Print the completion script of a shell.

    For bash put `eval "$(commonspace completion bash)"` into ~/.bashrc; for zsh the same into ~/.zshrc, after compinit.
    For fish write the script to ~/.config/fish/completions/commonspace.fish.
    """
    script_of = typer_completion.get_completion_script  # type: ignore[attr-defined] # imported there, not exported
    say(*script_of(prog_name=PROGRAM, complete_var=COMPLETE_VAR, shell=shell.value).splitlines())


def register_shells() -> None:
    """Let the program answer the scripts; Typer does so by itself only where it adds options of its own."""
    typer_completion.completion_init()  # type: ignore[attr-defined] # imported there, not exported
