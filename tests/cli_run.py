"""The command line, called as a program is, in the tests' own process."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from retrieval import cli
from tests.toy import ToyEncoder

Run = Callable[..., tuple[int, str, str]]
"""Takes the arguments of a command; gives the exit code, standard output and standard error."""


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return call


def toy_runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A runner of commands that encode with the toy encoder, whatever encoder they name."""
    for module in ("retrieval.cli.commands.build", "retrieval.retriever.loaded_bundle"):
        monkeypatch.setattr(f"{module}.load_encoder", lambda *_, **__: ToyEncoder())
    return runner(capsys)


def json_lines(out: str, record: str = "hit") -> list[dict[str, Any]]:
    """The objects that ``--json`` prints, one a line, each of the type that is named, without that."""
    values: list[dict[str, Any]] = [json.loads(line) for line in out.split("\n") if line]
    assert {value.pop("type") for value in values} <= {record}
    return values
