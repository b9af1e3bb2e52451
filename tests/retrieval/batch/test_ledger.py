"""What a job's ledger and its numbers may be: a changed digit is noticed, and its chunks are answered again."""

import json
from pathlib import Path
from typing import Any

import pytest

from indexing.errors import InputError
from retrieval.batch import BatchConfig
from retrieval.batch.output_folder import FORMAT, JobFolder, OutputPart, _line, _part


def parts(*lines: tuple[int, int]) -> list[OutputPart]:
    return [OutputPart(number, first, count, count, 0, {}, 0, "") for number, (first, count) in enumerate(lines)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"lines": 60', '"lines": 64'),
        ('"lines": 60', '"lines": 900'),
        ('"first": 0', '"first": 8'),
        ('"users"', '"usere"'),
    ],
)
def test_a_changed_line_of_the_ledger_is_none(old: str, new: str) -> None:
    (part,) = parts((0, 60))
    line = _line(part)
    assert _part(line) == part
    assert _part(line.replace(old.encode(), new.encode())) is None
    assert _part(line[:-1]) is None
    assert _part(b"[1]\n") is None


def folder_of(root: Path, monkeypatch: pytest.MonkeyPatch, *given: OutputPart) -> JobFolder:
    monkeypatch.setattr(JobFolder, "_is_whole", lambda _self, part: part.users != 13)
    (root / "_job.json").write_text(json.dumps({"format": FORMAT}))
    (root / "_parts.jsonl").write_bytes(b"".join(map(_line, given)))
    (root / "_SUCCESS").write_text("{}")
    return JobFolder(root, {})


def test_parts_follow_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path, monkeypatch, *parts((0, 60), (60, 60), (128, 60)))
    assert [part.first for part in folder.parts] == [0, 60]
    assert folder.lines == 120


def test_a_job_that_makes_a_part_again_is_no_success_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = parts((0, 60), (60, 60))
    assert folder_of(tmp_path, monkeypatch, *whole).lines == 120
    assert (tmp_path / "_SUCCESS").exists()
    damaged = folder_of(tmp_path, monkeypatch, *parts((0, 60), (60, 13)))
    assert damaged.lines == 60
    assert not (tmp_path / "_SUCCESS").exists()
    assert (tmp_path / "_parts.jsonl").read_bytes() == _line(whole[0])


@pytest.mark.parametrize("value", [float("nan"), 2.5, True, 0, -1, float("inf"), None, "3"])
@pytest.mark.parametrize("name", ["k", "depth", "chunk"])
def test_numbers_of_a_job_are_whole(name: str, value: Any) -> None:  # noqa: ANN401
    with pytest.raises(InputError, match=rf"{name} is .*, expected at least 1"):
        BatchConfig(**{name: value})
