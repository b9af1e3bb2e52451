"""How many threads compute, how they wait for each other, and an error instead of a deadlock after a fork.

As many compute as the process has cores: by its affinity, and by the quota of the control group of a container. They
wait asleep, so that a busy machine is not kept busier by those who wait. torch and FAISS compute in pools of threads,
which a fork does not take along: the child would wait for ever for threads that it has not got. A process that is
forked before anything was computed is free to compute.
"""

import math
import os
from pathlib import Path

from indexing.errors import ForkedProcessError

_state = {"computed": False, "forked": False}


def about_to_compute(threads: int) -> None:
    """Say that a pool of so many threads is about to be used; one thread alone needs no pool.

    Raises:
        ForkedProcessError: In a child of a process that has used one.
    """
    require_own_threads()
    if threads > 1:
        _state["computed"] = True


def require_own_threads() -> None:
    """Check that this process is none that was forked after its parent had computed.

    Raises:
        ForkedProcessError: When it is.
    """
    if _state["forked"]:
        raise ForkedProcessError(
            "this process was forked after its parent had encoded or searched, and would wait for ever for threads "
            "that it has not got; start it by spawn or forkserver (multiprocessing.get_context('spawn')), load in each "
            "process (without gunicorn's --preload), or set OMP_NUM_THREADS=1 before the parent starts"
        )


def _in_child() -> None:
    _state["forked"] = _state["forked"] or _state["computed"]


if hasattr(os, "register_at_fork"):  # only where processes fork
    os.register_at_fork(after_in_child=_in_child)


WAITING = "OMP_WAIT_POLICY"
SPINNING = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # who sets one of these has decided how threads wait

CGROUP = Path("/sys/fs/cgroup")


def cores(cgroup: Path = CGROUP) -> int:
    """Give how many cores this process may use: those of its affinity, within the quota of its control group.

    A quota of one and a half cores counts as two. Where there is no quota, or none that can be read, it counts for
    nothing.

    Args:
        cgroup: Where control groups are told, of version 2 (``cpu.max``) or 1 (``cpu/cpu.cfs_quota_us``).
    """
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return own if quota is None else max(1, min(own, math.ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    """Give the cores that a control group may use, in fractions, where there is a limit."""
    try:
        if (file := cgroup / "cpu.max").is_file():
            limit, period = file.read_text().split()
        else:
            limit, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        most = int(limit) / int(period)  # "max" is no number, and version 1 says -1
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return most if most > 0 else None


def wait_asleep() -> None:
    """Let threads of libraries that are loaded from now on wait asleep, unless the environment says how they wait.

    By default a thread that waits for another spins. Where there are more threads than free cores it so takes the core
    from the thread that it waits for: encoding took five times as long (`busy`). How many threads
    there are stays as it is. OpenMP reads this when it is loaded, so that it has no effect once torch is.
    """
    if not any(name in os.environ for name in (WAITING, *SPINNING)):
        os.environ[WAITING] = "PASSIVE"
