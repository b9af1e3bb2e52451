"""A kept result says which commit was measured, and whether the tree held anything else."""

import json
import subprocess
from pathlib import Path

import pytest

from scripts.benchmarks import record

NAMED = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "code.py").write_text("answer = 42\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*NAMED, *words], cwd=tmp_path, check=True)
    return tmp_path


def test_a_checkout_without_changes_is_clean(checkout: Path) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True)
    assert record.state_of(checkout) == {"commit": head.stdout.strip(), "clean_tree": True}


@pytest.mark.parametrize("path", ["code.py", "new.py", "scripts/benchmarks/new.py"])
def test_a_changed_or_new_file_makes_it_unclean(checkout: Path, path: str) -> None:
    (checkout / path).parent.mkdir(parents=True, exist_ok=True)
    (checkout / path).write_text("answer = 43\n")
    assert record.state_of(checkout)["clean_tree"] is False


def test_results_of_earlier_benchmarks_do_not_count(checkout: Path) -> None:
    results = checkout / "scripts" / "benchmarks" / "results"
    results.mkdir(parents=True)
    (results / "other.json").write_text("{}\n")
    assert record.state_of(results)["clean_tree"] is True


def test_what_is_no_checkout_is_not_called_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert record.state_of(tmp_path) == {"commit": "", "clean_tree": False}


def test_a_kept_result_says_so(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "RESULTS", checkout / "results")
    record.keep("speed", {"rows": 3}, seed=7)
    kept = json.loads((checkout / "results" / "speed.json").read_text())
    assert kept["result"] == {"rows": 3}
    assert kept["seed"] == 7
    assert {"commit", "clean_tree", "versions", "machine", "command"} <= kept.keys()
