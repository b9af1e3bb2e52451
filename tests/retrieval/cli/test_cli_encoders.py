"""`commonspace encoders` as people and programs see it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval import cli
from retrieval.cli.commands.encoders import _estimate
from tests.cli_run import json_lines
from tests.retrieval.evaluation.encoders.test_ranking import Encoders, items_file

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setattr("retrieval.cli.commands.encoders.load_encoder", Encoders())
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            cli.main(["encoders", *(str(argument) for argument in arguments)])
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return call


def test_rank_prints_a_table_or_json_and_says_what_failed(run: Run, tmp_path: Path) -> None:
    command = ("rank", "--source", items_file(tmp_path), "--workers", 0, "--encoder", "blind", "--encoder", "plain")
    code, out, _ = run(*command, "--encoder", "nonsense", "--json")
    found = json.loads(out)
    assert code == 0
    assert [result["name"] for result in found["results"]] == ["plain", "blind"]
    assert (found["items"], found["label"]) == (60, "shape")
    assert "there is no encoder 'nonsense'" in found["failed"]["nonsense"]
    recall = found["results"][0]["retrieval"]["text to image"]["recall@5"]["value"]
    assert "ranks" not in found["results"][0]["retrieval"]["text to image"]
    assert len(list((tmp_path / "encoders").glob("*.json"))) == 2
    code, out, err = run(*command, "--encoder", "nonsense")
    assert code == 0
    assert f"{recall:.3f} [" in next(line for line in out.splitlines() if "text to image, recall@5" in line)
    assert "shape from text, linear" in out
    assert "60 items, best first" in out.splitlines()[0]
    assert out.splitlines()[0].endswith("probes predict the column shape")
    assert err.startswith("nonsense: there is no encoder 'nonsense'")


def test_nothing_ranked_is_a_failure(run: Run, tmp_path: Path) -> None:
    code, _, err = run("rank", "--source", items_file(tmp_path), "--encoder", "failing", "--workers", 0)
    assert (code, err) == (1, "failing: out of memory\n")
    code, _, err = run("rank", "--source", items_file(tmp_path), "--encoder", "plain", "--label-column", "colou")
    assert code == 1
    assert "did you mean one of ['colour']" in err


def test_list_names_what_load_encoder_takes(run: Run) -> None:
    code, out, _ = run("list")
    assert code == 0
    assert out.splitlines()[0] == "pocket"
    assert {"name": "open_clip:ARCH/TAG"} in json_lines(run("list", "--json")[1], "encoder")


@pytest.mark.parametrize(
    ("value", "low", "high", "shown"),
    [
        (0.5, 0.25, 0.75, "0.500 [0.250, 0.750]"),
        (1.0, 0.99, 1.0, "1.000 [0.990, 1.000]"),
        (0.9, 0.8, 1.5, "0.9 [0.8, 1.5]"),
        (1.5, 0.5, 0.9, "1.5 [0.5, 0.9]"),
        (-12.25, -20.0, -1.0, "-12.2 [-20.0, -1.0]"),
    ],
)
def test_shares_have_three_decimals_and_other_numbers_one(value: float, low: float, high: float, shown: str) -> None:
    assert _estimate({"value": value, "low": low, "high": high}) == shown


def test_an_unknown_name_is_wrong_usage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\n1,red mug\n")
    with pytest.raises(SystemExit) as stopped:
        cli.main(["build", str(tmp_path / "items.csv"), "--out", str(tmp_path / "b"), "--encoder", "pockets"])
    assert stopped.value.code == 2
    assert "there is no encoder 'pockets', did you mean 'pocket'?" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
