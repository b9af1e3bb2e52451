"""Threads wait asleep unless the user has said how they wait; there are as many as this process has cores."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from indexing.runtime.threads import AT_ONCE, BLAS_WAITING, SPINNING, WAITING, cores, wait_asleep

NAMES = (WAITING, *SPINNING, BLAS_WAITING)


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


def test_openblas_has_a_setting_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BLAS_WAITING, "")
    monkeypatch.delenv(BLAS_WAITING)
    wait_asleep()
    assert os.environ[BLAS_WAITING] == AT_ONCE
    monkeypatch.setenv(BLAS_WAITING, "20")
    wait_asleep()
    assert os.environ[BLAS_WAITING] == "20"


@pytest.mark.parametrize("package", ["indexing", "retrieval", "indexing.encoders", "retrieval.cli"])
def test_it_is_so_before_numpy_and_torch_are_loaded(package: str) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in NAMES}
    code = f"""
import os, sys
def seen(event, arguments):
    if event == "import" and arguments[0] in ("numpy", "torch") and {BLAS_WAITING!r} not in os.environ:
        os._exit(3)
sys.addaudithook(seen)
import {package}
print(os.environ[{WAITING!r}], os.environ[{BLAS_WAITING!r}])
"""
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["PASSIVE", AT_ONCE]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "1600000 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "300000\n"}, 8),
        ({"cpu.max": "", "cpu/cpu.cfs_quota_us": "300000\n"}, 8),
        ({"cpu.max": "100000 0\n"}, 8),
        ({"cpu.max": "a lot\n"}, 8),
    ],
)
def test_cores_are_those_of_the_affinity_within_the_quota(
    environment: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    for name, text in environment.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores(tmp_path) == expected


def test_without_affinity_all_cores_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for there, expected in ((64, 64), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda there=there: there)
        assert cores(tmp_path) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_the_second_stage_and_decoding_follow_the_affinity() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from indexing.store.encode import _workers; from retrieval.ranking.second_stage import WORKERS; "
        "print(WORKERS, _workers(1))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]
