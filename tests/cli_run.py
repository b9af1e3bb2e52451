"""The command line, called as a program is, in the tests' own process."""

from collections.abc import Callable

import pytest

from retrieval import cli

Run = Callable[..., tuple[int, str, str]]
"""Takes the arguments of a command; gives the exit code, standard output and standard error."""


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return call
