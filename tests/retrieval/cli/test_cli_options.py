"""Options and commands: sections of the help, one declaration each, former names that still work, completion."""

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from retrieval.cli import app, main
from retrieval.cli.options.command import MOVED, RENAMED
from retrieval.serving import Limits, ServiceConfig
from tests.cli_run import Run, json_lines, toy_runner
from tests.paths import ROOT

CLI = ROOT / "retrieval" / "cli"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return toy_runner(capsys, monkeypatch)


@pytest.fixture
def bundle(own_toy_bundle: Path) -> Path:
    return own_toy_bundle


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


def test_pages_name_no_option_by_a_former_name() -> None:
    current = set().union(*(options for _, options in commands()))
    former = (RENAMED.keys() | MOVED.keys()) - current
    root = CLI.parents[1]
    shelves = [root / "docs" / name for name in ("tutorials", "how-to", "reference", "explanation")]
    pages = [root / "README.md", *(page for shelf in shelves for page in sorted(shelf.glob("*.md")))]
    assert len(pages) > 10
    stale = [
        f"{page.name}: {name}"
        for page in pages
        for line in page.read_text().splitlines()
        if "scripts." not in line  # whose programs have options of their own
        for name in re.findall(r"(?<![\w-])--[a-z][a-z-]+", line)
        if name in former
    ]
    assert stale == []


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
    assert (code, err, [hit["query_id"] for hit in json_lines(out)]) == (0, "", ["2"])
    code, out, err = run("recommend", bundle, "--history", "red-mug", "-k", 1, "--json")
    assert (code, err, len(json_lines(out))) == (0, "", 1)


def test_what_follows_two_dashes_is_no_option(bundle: Path, run: Run) -> None:
    code, _, err = run("delete", bundle, "--missing-ok", "--", "--id")
    assert (code, err) == (0, "")


@pytest.mark.parametrize(
    ("given", "suggested"),
    [
        (("fit", "--hold", "0.2"), "--hold-out"),  # not --help
        (("recommend", "b", "--whre", "x"), "--where"),  # neither --help nor --rules
        (("recommend", "b", "--explan"), "--explain"),  # not --rerank
        (("evaluate", "b", "--num_candidates=3"), "--num-candidates"),
        (("search", "b", "--xyzabc"), None),
        (("search", "b", "--r", "x"), None),  # the beginning of several
    ],
)
def test_a_misspelled_option_is_answered_with_the_one_that_was_meant(
    given: tuple[str, ...], suggested: str | None, run: Run
) -> None:
    code, out, err = run(*given)
    name = next(word for word in given if word.startswith("--")).partition("=")[0]
    hint = f". Did you mean {suggested}?" if suggested else ""
    assert (code, out, err.splitlines()[-1]) == (2, "", f"Error: No such option: {name}{hint}")


def test_each_help_names_debug(run: Run) -> None:
    for command, _ in commands():
        assert "--debug" in sections(run(*command.split(), "--help")[1])["Options"], command
    assert run("search", "nowhere", "x", "--debug", "--help")[0] == 0


def declared(path: Path) -> list[tuple[str, ...]]:
    """Give the spellings of each option that a module declares; none where one is named after its parameter."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [
        tuple(
            name
            for arg in call.args
            if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
            for name in arg.value.split("/")
            if name.startswith("-")
        )
        for call in calls
        if ast.unparse(call.func) == "typer.Option"
    ]


# `export --format` is the layout of a folder, elsewhere it is that of answers; `fit --impressions` teaches, elsewhere a
# rule reads them. `build --workers` decode pictures, `serve --workers` answer. `build --device` encodes, `fit --device`
# trains.
TWO_MEANINGS = {"--device", "--format", "--impressions", "--workers"}


def test_each_option_is_declared_in_one_module() -> None:
    modules: dict[str, set[str]] = {}
    for path in sorted(CLI.rglob("*.py")):
        for names in declared(path):
            assert names, f"{path.name} has an option without a spelling; write it out, so that it can be found"
            for name in names:
                modules.setdefault(name, set()).add(path.name)
    assert {name for name, where in modules.items() if len(where) > 1} == TWO_MEANINGS
    spelled = set().union(*(options for _, options in commands()))
    assert {name for name in spelled if name.startswith("-")} - {"--help"} <= modules.keys()


def test_a_command_has_eight_parameters_at_most() -> None:
    wide = [
        f"{path.name}: {node.name}"
        for path in sorted(CLI.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and len([*node.args.args, *node.args.kwonlyargs]) > 8
    ]
    assert wide == []


def sections(shown: str) -> dict[str, list[str]]:
    """Give the first words of the lines of each section of a help."""
    found: dict[str, list[str]] = {}
    for line in shown.splitlines():
        if heading := re.fullmatch(r"(\S.*):", line):
            found[heading[1]] = []
        elif found and (name := re.match(r" {2}(-?-?[a-z]\S*)", line)):
            list(found.values())[-1].append(name[1])
    return found


def test_help_shows_commands_in_sections(run: Run) -> None:
    shown = sections(run("--help")[1].split("\n  Exit codes:")[0])
    assert shown == {
        "Options": ["--version", "--debug", "--help"],
        "Build": ["inspect", "build", "encoders"],
        "Query": ["search", "similar", "complements", "next-items", "recommend", "users-for", "top", "rerank"],
        "Learn": ["prepare", "fit", "tune"],
        "Evaluate": ["evaluate", "compare"],
        "Serve": ["serve", "mcp"],
        "Maintain": [
            *[
                "add",
                "update",
                "delete",
                "words",
                "info",
                "doctor",
                "verify",
                "repair",
                "compact",
                "publish",
                "rollback",
                "export",
                "push",
                "pull",
                "states",
                "completion",
                "events",
            ]
        ],
    }
    # Each first sentence fits 80 columns.
    assert [line for line in run("--help")[1].splitlines() if line.startswith(" ") and line.endswith("...")] == []


def test_help_shows_options_in_sections(run: Run) -> None:
    shown = sections(run("similar", "--help")[1])
    assert list(shown) == ["Arguments", "Options", "Query", "Postprocessing", "Output", "Ray"]
    assert shown["Query"] == ["-k", "--num-candidates", "--where", "--all", "--by"]
    assert shown["Postprocessing"] == [
        "--diversify",
        "--rules",
        "--group-by",
        "--collapse-duplicates",
        "--postprocess",
        "--impressions",
    ]
    assert shown["Output"] == ["--out", "--json", "--format"]


@pytest.mark.parametrize(
    ("shell", "hook"), [("bash", "complete -o"), ("zsh", "compdef"), ("fish", "complete --command")]
)
def test_completion_prints_the_script_of_a_shell(shell: str, hook: str, run: Run) -> None:
    code, out, err = run("completion", shell)
    assert (code, err) == (0, "")
    assert hook in out
    assert f"_COMMONSPACE_COMPLETE=complete_{shell}" in out
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=out, text=True, check=True)


def test_another_shell_is_wrong_usage(run: Run) -> None:
    code, out, err = run("completion", "csh")
    assert (code, out) == (2, "")
    assert "'bash', 'zsh', 'fish'" in " ".join(err.split())


@pytest.mark.parametrize(
    ("shell", "words", "expected"),
    [
        ("bash", {"COMP_WORDS": "commonspace re", "COMP_CWORD": "1"}, ["recommend", "rerank", "repair"]),
        ("bash", {"COMP_WORDS": "commonspace search --post", "COMP_CWORD": "2"}, ["--postprocess"]),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "commonspace comp"}, ["compare", "compact", "completion"]),
        (
            "fish",
            {"_TYPER_COMPLETE_ARGS": "commonspace comp", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
            ["compare", "compact", "completion"],
        ),
    ],
)
def test_the_program_answers_the_scripts(
    shell: str,
    words: dict[str, str],
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {"_COMMONSPACE_COMPLETE": f"complete_{shell}", **words}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert [name for name in ("search", *expected) if name in re.findall(r"[\w-]+", out)] == expected


def test_the_shipped_sample_can_be_added(bundle: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = bundle.parent / "sample.csv"
    sample.write_text("item_id,title\nred-kite,red kite\n")
    monkeypatch.setattr("retrieval.cli.options.items.items_path", lambda: sample)
    code, out, _ = run("add", bundle, "sample", "--json")
    assert (code, json.loads(out)["added"]) == (0, 1)


@pytest.mark.parametrize(
    ("command", "default", "words"),
    [
        ("evaluate", "0.2", "fit it with the same fraction"),
        ("fit", "0.0", "By default none is held out"),
        ("tune", "0.0", "By default none is held out"),
    ],
)
def test_the_help_says_why_fit_holds_nothing_out_by_default(command: str, default: str, words: str, run: Run) -> None:
    shown = " ".join(run(command, "--help")[1].partition("Held-out interactions:")[2].split("--split")[0].split())
    assert f"[default: {default};" in shown
    assert words in shown


def test_operators_say_the_limits_of_a_service(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[ServiceConfig] = []
    monkeypatch.setattr("retrieval.serving.server.uvicorn_server.serve", lambda config, *_, **__: served.append(config))
    assert run("serve", tmp_path)[0] == 0
    assert (
        run("serve", tmp_path, "--deadline", "2.5", "--queue", "9", "--concurrency", "3", "--open-versions", "0")[0]
        == 0
    )
    given = Limits(deadline=2.5, queue=9, concurrency=3, open_versions=0)
    assert [config.limits for config in served] == [Limits(), given]
    code, _, error = run("serve", tmp_path, "--deadline", "0")
    assert (code, "deadline is 0.0; give seconds above 0" in error) == (1, True)
