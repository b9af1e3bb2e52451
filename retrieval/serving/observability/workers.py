"""Metrics of several processes that share a port: a folder of mapped files, in which each counts for itself."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import prometheus_client.values
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""By which prometheus_client learns of the folder, when it is imported."""

_GAUGES_NOW = re.compile(r"gauge_live\w+_(\d+)\.db")  # files of what holds for a process that lives


@contextlib.contextmanager
def shared_metrics() -> Iterator[Path]:
    """Make the folder for the processes that are started within the block; it goes with the block."""
    before = os.environ.get(VARIABLE)
    with tempfile.TemporaryDirectory(prefix="commonspace-metrics-") as folder:
        os.environ[VARIABLE] = folder
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ[VARIABLE]
            else:
                os.environ[VARIABLE] = before


def workers_folder() -> Path | None:
    """Give the folder in which this process counts beside others; None where it counts for itself alone."""
    if prometheus_client.values.ValueClass is prometheus_client.values.MutexValue:
        return None
    return Path(os.environ[VARIABLE])


def collected_workers(folder: Path) -> CollectorRegistry:
    """Give the metrics of all processes; what one that is dead had last is left out, but not what it counted."""
    found = (_GAUGES_NOW.fullmatch(path.name) for path in folder.iterdir())
    for process in {int(one[1]) for one in found if one is not None}:
        if not is_alive(process):
            mark_process_dead(process, str(folder))  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return registry


def is_alive(process: int) -> bool:
    """Say whether a process runs; one that has ended may be there until its parent looks."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):  # elsewhere than on Linux
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True
