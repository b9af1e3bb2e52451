"""Options of the command line: their names, and the former ones that still work."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from retrieval.cli import app
from retrieval.cli.options.renamed import RENAMED
from tests.cli_run import Run, runner
from tests.toy import ToyEncoder, toy_file


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("retrieval.cli.build.load_encoder", lambda *_, **__: ToyEncoder())
    monkeypatch.setattr("retrieval.retriever.state.load_encoder", lambda *_, **__: ToyEncoder())
    return runner(capsys)


@pytest.fixture
def bundle(tmp_path: Path, run: Run) -> Path:
    assert run("build", toy_file(tmp_path), "--out", tmp_path / "bundle")[0] == 0
    return tmp_path / "bundle"


def commands() -> Iterator[tuple[str, set[str]]]:
    """Give each command with the spellings of its options."""

    def walk(group: TyperGroup, before: str) -> Iterator[tuple[str, set[str]]]:
        for name, command in group.commands.items():
            if isinstance(command, TyperGroup):
                yield from walk(command, f"{before}{name} ")
            else:
                yield (
                    before + name,
                    {one for option in command.params for one in (*option.opts, *option.secondary_opts)},
                )

    top = typer.main.get_command(app)
    assert isinstance(top, TyperGroup)
    return walk(top, "")


def test_each_former_name_has_a_new_one_that_some_command_has() -> None:
    spelled = dict(commands())
    everywhere = set().union(*spelled.values())
    assert [new for names in RENAMED.values() for new in names if new not in everywhere] == []
    for former, names in RENAMED.items():
        for command, options in spelled.items():
            assert len(options & set(names)) <= 1, f"{former} could be two options of {command}"
        assert any(options & set(names) and former not in options for options in spelled.values()), former


def test_a_former_name_works_and_its_new_name_is_said(bundle: Path, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "goods.csv"
    path.write_text("sku,name\na,red mug\nb,blue shoe\n")
    given = ("--id", "sku", "--text=name")
    code, _, err = run("build", path, "--out", tmp_path / "other", *given)
    assert code == 0
    assert err.splitlines()[:2] == [
        "note: --id is called --id-column now; the next version takes the new name alone",
        "note: --text is called --text-column now; the next version takes the new name alone",
    ]
    assert json.loads(run("info", tmp_path / "other", "--json")[1])["columns"] == {"item_id": "sku", "text": ["name"]}


def test_a_name_that_a_command_has_keeps_its_meaning(bundle: Path, tmp_path: Path, run: Run) -> None:
    log = tmp_path / "log.csv"
    log.write_text("user_id,item_id,timestamp\n1,red-mug,1\n2,blue-shoe,2\n")
    code, out, err = run("recommend", bundle, "--interactions", log, "--user", "2", "-k", 1, "--json")
    assert (code, err, [hit["query_id"] for hit in json.loads(out)]) == (0, "", ["2"])
    code, out, err = run("recommend", bundle, "--history", "red-mug", "-k", 1, "--json")
    assert (code, err, len(json.loads(out))) == (0, "", 1)


def test_what_follows_two_dashes_is_no_option(bundle: Path, run: Run) -> None:
    code, _, err = run("delete", bundle, "--missing-ok", "--", "--id")
    assert (code, err) == (0, "")
