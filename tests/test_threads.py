"""Threads wait asleep unless the user has said how they wait; their number is never touched."""

import os
import subprocess
import sys

import pytest

from indexing.threads import SPINNING, WAITING, wait_asleep

NAMES = (WAITING, *SPINNING)


@pytest.mark.parametrize(
    ("given", "waiting"),
    [
        ({}, "PASSIVE"),
        ({"OMP_NUM_THREADS": "2"}, "PASSIVE"),
        ({WAITING: "ACTIVE"}, "ACTIVE"),
        ({"GOMP_SPINCOUNT": "100"}, None),
        ({"KMP_BLOCKTIME": "0"}, None),
    ],
)
def test_the_environment_has_the_last_word(
    given: dict[str, str], waiting: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*NAMES, "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")  # so that what is set here is undone
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    wait_asleep()
    assert os.environ.get(WAITING) == waiting
    assert os.environ.get("OMP_NUM_THREADS") == given.get("OMP_NUM_THREADS")


@pytest.mark.parametrize(
    "code", ["from indexing.encoders import load_encoder; load_encoder('vectors:4')", "import retrieval.cli"]
)
def test_it_is_so_before_torch_is_loaded(code: str) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in NAMES}
    if "cli" in code:
        code += "\ntry: retrieval.cli.main(['--version'])\nexcept SystemExit: pass"
    code += f"\nimport os, sys; print(os.environ[{WAITING!r}])"
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "PASSIVE"
