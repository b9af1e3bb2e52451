"""Nothing that comes from outside marks up, cuts, or commands what the command line shows."""

import ast
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.runtime.safe_text import escaped, visible
from retrieval.cli.display.terminal import show_json, show_pairs, show_table
from tests.cli_run import Run, json_lines, runner
from tests.paths import ROOT
from tests.toy import ToyEncoder

CLI = ROOT / "retrieval" / "cli"
COMMANDING = [*map(chr, range(32)), "\x7f", "\x85", "\x9b", "\u202e", "\u202a", "\u2066", "\u2069", "\u200f", "\ud800"]
HOSTILE = [
    "mug w/o [/lid] red",
    "lamp [red] [XL] [new] shade",
    "[link=https://example.org]shoe[/link]",
    "a :smile: book \\[x]",
    "kettle \x1b[2J\x1b]0;owned\x07 blue",
    "tray \x9b31m \u202edetrevni\u2069 chair",
]
IDS = ["[x]d", "[/b]", "=cmd()", ":heart:", "[bold]e", "f\\[g]"]  # control characters are refused in ids


@pytest.fixture(autouse=True)
def toy_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.cli.commands.build.load_encoder", lambda *_, **__: ToyEncoder())
    monkeypatch.setattr("retrieval.cli.commands.encoders.load_encoder", lambda *_, **__: ToyEncoder())
    monkeypatch.setattr("retrieval.retriever.loaded_bundle.load_encoder", lambda *_, **__: ToyEncoder())


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.mark.parametrize("character", COMMANDING, ids=lambda one: f"U+{ord(one):04X}")
def test_what_a_terminal_obeys_is_seen_and_stays_itself_in_json(character: str) -> None:
    assert visible(f"a{character}b") == ("a b" if character in "\t\n" else "a\ufffdb")
    dumped = escaped(json.dumps(f"a{character}b", ensure_ascii=False))
    assert json.loads(dumped) == f"a{character}b"
    assert character not in dumped


@pytest.mark.parametrize("text", ["naïve 日本語 😀", "a [b] \\[c]", "שלום", "e\u0301"])
def test_what_is_harmless_is_left_alone(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize("width", [80, 200])
def test_tables_fold_and_never_cut(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    long_id, title = "zielony-kubek-herbaty-green-tea-0001", " ".join(f"word{n}" for n in range(15))
    show_table("", ("rank", "item_id", "score", "title"), [(1, long_id, "0.1234", title)], whole=["item_id"])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    assert "…" not in out
    assert long_id in out
    assert all(f"word{n}" in out for n in range(15))


def test_without_a_terminal_nothing_is_folded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    show_pairs("about " + "x" * 200, {"name": "y" * 300, "lines": ["one [b]", "two"]})
    lines = capsys.readouterr().out.splitlines()
    assert "about " + "x" * 200 in lines
    assert sum("y" * 300 in line for line in lines) == 1
    assert [line.split("│")[2].strip() for line in lines if "one" in line or "two" in line] == ["one [b]", "two"]


def test_what_json_has_no_number_for_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    show_json("fit", {"a": [float("inf"), 1.5], "b": {"c": float("nan")}, "d": (float("-inf"), True)})
    assert json.loads(capsys.readouterr().out) == {"type": "fit", "a": [None, 1.5], "b": {"c": None}, "d": [None, True]}


@pytest.fixture
def goods(tmp_path: Path) -> Path:
    path = tmp_path / "goods[red].parquet"
    columns = {"item_id": IDS, "title": HOSTILE, "kind [/x]\x1b[2J": HOSTILE[::-1], "[b]": [1, 2, 3, 4, 5, 6]}
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def bundle(goods: Path, tmp_path: Path, run: Run) -> Path:
    folder = tmp_path / "bundle [x]"
    assert run("build", goods, "--out", folder)[0] == 0
    return folder


@pytest.fixture
def log(tmp_path: Path) -> Path:
    users = ["[/u]", "u\x1b[31m", ":smile:"]
    rows = [
        {"user_id": user, "item_id": IDS[(place + step) % 6], "timestamp": 1_700_000_000 + 60 * step, "weight": 1.0}
        for place, user in enumerate(users)
        for step in range(4)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log [x].parquet")
    return tmp_path / "log [x].parquet"


def commands(bundle: Path, goods: Path, log: Path, tmp_path: Path) -> dict[str, tuple[list[object], list[str]]]:
    """Every command that shows what comes from outside, with what must be seen of it."""
    seen, ids = [visible(title) for title in HOSTILE], [visible(one) for one in IDS]
    of_log = ["--interactions", log, "--no-rerank", "-k", 6]
    return {
        "search": (["search", bundle, "lamp [/x] \x1b[2J", "-k", 6], [*seen, *ids, "lamp [/x] \ufffd[2J"]),
        "search for programs": (["search", bundle, "x \x1b[2J", "-k", 6, "--json"], []),
        "similar": (["similar", bundle, "[/b]", "-k", 6], [seen[0], *seen[2:], ids[0], *ids[2:], "[/b] (retrieve)"]),
        "recommend": (["recommend", bundle, "--history", "[x]d", "--no-rerank"], [*seen[1:], *ids[1:]]),
        "of a log": (["recommend", bundle, *of_log], ["[/u] (", "u\ufffd[31m (", ":smile: ("]),
        "explained": (["recommend", bundle, *of_log, "--explain"], [f" {seen[1]} ([/b])", *ids[:2]]),
        "info": (["info", bundle], ["bundle [x]"]),
        "doctor": (["doctor", bundle], ["bundle [x]"]),
        "verify": (["verify", bundle], ["bundle [x]"]),
        "repair": (["repair", bundle], ["bundle [x]"]),
        "inspect": (["inspect", goods], ["goods[red].parquet"]),
        "prepare": (["prepare", log, tmp_path / "[p].parquet", "--keep-bots"], ["log [x].parquet", "[p].parquet"]),
        "evaluate": (["evaluate", bundle, log, "--hold-out", 0.5], ["recall@"]),
        "delete": (["delete", bundle, "[x]d"], ["bundle [x]"]),
        "add": (["add", bundle, goods, "--upsert"], ["bundle [x]"]),
        "compact": (["compact", bundle], ["bundle [x]"]),
        "rollback": (["rollback", bundle], ["bundle [x]"]),
        "export": (["export", bundle, "--format", "faiss", "--out", tmp_path / "f [x]"], ["f [x]"]),
    }


def test_every_command_shows_hostile_text_as_it_is(
    bundle: Path, goods: Path, log: Path, tmp_path: Path, run: Run
) -> None:
    for name, (command, seen) in commands(bundle, goods, log, tmp_path).items():
        if name == "export":
            assert run("compact", bundle)[0] == 0
        code, out, err = run(*command)
        assert code == 0, (name, err)
        assert [one for one in seen if one not in out] == [], name
        assert not [one for one in COMMANDING if one != "\n" and one in out + err], name
        if name == "search for programs":
            hits = json_lines(out)
            assert {hit["item_id"]: hit["title"] for hit in hits} == dict(zip(IDS, HOSTILE, strict=True))
            assert {hit["query_id"] for hit in hits} == {"x \x1b[2J"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["similar", "{bundle}", "\x1b[2J[/red]"], "[/red]"),
        (["search", "{bundle}", "x", "--where", "[/a]\x1b[2J > 3"], "[/a]"),
        (["search", "{bundle}", "x", "--out", "[/x]\x1b.txt"], "[/x]"),
        (["info", "no[/x]\x1bwhere"], "no[/x]\ufffdwhere"),
        (["\x1b[2J[/x]"], "[/x]"),
        (["search", "{bundle}", "--\x1b[2J[/x]"], "[/x]"),
        (["inspect", "[/x]\x9b.parquet"], "[/x]"),
    ],
)
def test_errors_show_hostile_text_as_it_is(arguments: list[str], message: str, bundle: Path, run: Run) -> None:
    code, _, err = run(*(bundle if one == "{bundle}" else one for one in arguments))
    assert code in (1, 2)
    assert message in err
    assert not [one for one in COMMANDING if one != "\n" and one in err]


@pytest.mark.parametrize("path", sorted(CLI.rglob("*.py")), ids=lambda path: str(path.relative_to(CLI)))
def test_there_is_one_way_to_the_terminal(path: Path) -> None:
    tree = ast.parse(path.read_text())
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    rich = {name for name in names if name and name.split(".")[0] == "rich"}
    printing = {"print", "typer.echo", "typer.secho", "typer.style", "sys.stdout.write", "sys.stderr.write"}
    if path.name != "terminal.py":
        assert (rich, calls & printing) == (set(), set())


def test_what_rich_is_given_went_through_one_function() -> None:
    """Whatever is no literal is made visible before it becomes text of rich, or is printed."""
    tree = ast.parse((CLI / "display" / "terminal.py").read_text())
    takes = {"Text", "typer.echo", "add_column"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (called := ast.unparse(node.func)).split(".")[-1] in {*takes, "echo"}:
            given = ast.unparse(node.args[0])
            assert any(one in given for one in ("visible(", "cell_text(", "escaped(")), f"{called}({given})"
