"""Progress: a bar at 80 columns, and lines without a terminal."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

import indexing.runtime.progress
from indexing.runtime.progress import ProgressStep, duration, progress, progress_to
from indexing.store.encode import encode_progress
from retrieval import cli
from tests.cli_run import Run, toy_runner
from tests.toy import toy_file


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal of 80 columns shows."""
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr(
        indexing.runtime.progress, "Console", lambda **_: Console(file=shown, force_terminal=True, width=80)
    )
    return shown


def last_line(shown: str) -> str:
    return [line for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "\n").splitlines() if line][-1]


def test_how_much_is_done_and_the_time_left_survive_80_columns(screen: io.StringIO) -> None:
    with encode_progress(10_000, shown=True) as advance:
        for _ in range(4):
            time.sleep(0.06)
            advance(512, {"read": 0.0, "decode": 1234.0, "encode": 9999.0, "write": 0.1})
    line = last_line(screen.getvalue())
    assert "2048/10000" in line
    assert re.search(r"\d:\d\d:\d\d", line)
    assert len(line) <= 80
    assert "…" not in line


@pytest.mark.parametrize("label", ["behaviour, from others than newcomers", "encoding by [/x] \x1b[2J open_clip"])
def test_long_and_hostile_labels_leave_room(screen: io.StringIO, label: str) -> None:
    with progress(label, 120, "passes") as display:
        display.advance(60, more="x" * 50)
        display.advance(1)
    line = last_line(screen.getvalue())
    assert "61/120" in line
    assert len(line) <= 80
    assert "\x1b[2J" not in screen.getvalue()


def test_without_a_terminal_a_line_comes_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(indexing.runtime.progress, "SECONDS_BETWEEN_LINES", 0.05)
    with progress("encoding \x1b[2J", 1000, "items") as display:
        display.advance(250, more="read 0 s")
        time.sleep(0.3)
    written = capsys.readouterr()
    lines = written.err.splitlines()
    assert len(lines) >= 2
    assert re.fullmatch(r"encoding �\[2J: 250 of 1,000 items, 0 s so far, about \d s left, read 0 s", lines[0])
    assert written.out == ""


def test_what_is_soon_done_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("compacting"):
        pass
    with progress("encoding", 10, "items", shown=False) as display:
        display.advance(10)
    assert capsys.readouterr() == ("", "")


def test_a_line_says_what_is_known() -> None:
    begun = time.monotonic() - 100
    assert ProgressStep("fitting", started=begun).line() == "fitting: 1 min 40 s so far"
    assert ProgressStep("reading", None, "rows", 1500, started=begun).line() == "reading: 1,500 rows, 1 min 40 s so far"
    known = ProgressStep("tuning", 50, "trials", 20, "best 0.2", begun).line()
    assert known == "tuning: 20 of 50 trials, 1 min 40 s so far, about 2 min 30 s left, best 0.2"
    assert [duration(seconds) for seconds in (0.4, 59, 60, 3599, 86_400)] == [
        "0 s",
        "59 s",
        "1 min 0 s",
        "59 min 59 s",
        "24 h 0 min",
    ]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return toy_runner(capsys, monkeypatch)


@pytest.mark.parametrize(
    ("command", "target", "ending"),
    [
        (["build", "{items}", "--out", "{bundle}x"], "retrieval.cli.commands.build.build_bundle", "it continues"),
        (["compact", "{bundle}"], "retrieval.cli.commands.maintenance.compact_bundle", "nothing was changed"),
        (["fit", "{bundle}", "sample"], "retrieval.cli.commands.fit.fit_bundle", "it continues"),
        (["search", "{bundle}", "x"], "retrieval.cli.commands.query.show_candidates", "nothing was changed"),
    ],
)
def test_an_interruption_says_whether_it_can_go_on(
    command: list[str], target: str, ending: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, bundle = toy_file(tmp_path), tmp_path / "bundle"
    assert run("build", items, "--out", bundle)[0] == 0

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(target, interrupted)
    code, out, err = run(*(one.format(items=items, bundle=bundle) for one in command))
    assert (code, out) == (130, "")
    last = err.strip().splitlines()[-1]
    assert last.startswith("commonspace: interrupted; ")
    assert last.endswith((ending, f"{ending}\n"))


SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what runs in the background ignore it
from retrieval import cli
import retrieval.cli.commands.encoders as encoders
def slow(*_, **__):
    print("began", flush=True)
    time.sleep(60)
encoders.KNOWN = "pocket"
encoders.say = slow
cli.main(["encoders", "list"])
"""


def test_ctrl_c_ends_with_a_word_and_130() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "began\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip().splitlines()[-1].startswith("commonspace: interrupted; ")


PIPED = """
from retrieval import cli
import retrieval.cli.commands.encoders as encoders
encoders.KNOWN = ", ".join(f"name{n}" for n in range(200_000))
cli.main(["encoders", "list"MORE])
"""


@pytest.mark.parametrize("more", ["", ', "--json"'])
def test_a_reader_that_has_seen_enough_ends_it_quietly(more: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PIPED.replace("MORE", more)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(20)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() in (0, cli.READER_GONE)


def test_progress_is_given_to_who_listens(capsys: pytest.CaptureFixture[str]) -> None:
    """Also what is not to be shown; and to nobody after the block."""
    seen: list[tuple[str, int, int | None]] = []
    with progress_to(lambda step: seen.append((step.label, step.done, step.total))):
        with encode_progress(10, shown=False) as advance:
            advance(4, {"read": 1.0})
            advance(6, {"read": 2.0})
        with progress("compacting"):
            pass
    with progress("later", shown=False) as display:
        display.advance(1)
    assert seen == [("encoding", 0, 10), ("encoding", 4, 10), ("encoding", 10, 10), ("compacting", 0, None)]
    assert capsys.readouterr().err == ""
