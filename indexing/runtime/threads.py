"""Number of threads, how they wait, and an error instead of a deadlock after a fork.

There are as many threads as the process has cores, by its affinity and by the quota of its control group. They
sleep while they wait, so that waiting costs a busy machine nothing. torch and FAISS compute in pools of threads,
which a fork does not copy: the child would wait for ever for threads that it does not have. A process that is
forked before anything was computed may compute.
"""

import math
import os
from pathlib import Path

from indexing.errors import ForkedProcessError

_state = {"computed": False, "forked": False}


def about_to_compute(threads: int) -> None:
    """Note that a pool of threads is about to be used. One thread alone needs no pool.

    Raises:
        ForkedProcessError: In a child of a process that has used one.
    """
    require_own_threads()
    if threads > 1:
        _state["computed"] = True


def require_own_threads() -> None:
    """Check that this process was not forked after its parent had computed.

    Raises:
        ForkedProcessError: When it is.
    """
    if _state["forked"]:
        raise ForkedProcessError(
            "this process was forked after its parent had encoded or searched, and would wait for ever for threads "
            "that it lacks; start it by spawn or forkserver (multiprocessing.get_context('spawn')), load in each "
            "process (without gunicorn's --preload), or set OMP_NUM_THREADS=1 before the parent starts"
        )


def _in_child() -> None:
    _state["forked"] = _state["forked"] or _state["computed"]


if hasattr(os, "register_at_fork"):  # only where processes fork
    os.register_at_fork(after_in_child=_in_child)


WAITING = "OMP_WAIT_POLICY"
SPINNING = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # if one of these is set, the user has decided how threads wait
BLAS_WAITING, AT_ONCE = "OPENBLAS_THREAD_TIMEOUT", "4"  # 2^4 cycles, the least that OpenBLAS takes; its own is 2^26

CGROUP = Path("/sys/fs/cgroup")


def cores(cgroup: Path = CGROUP) -> int:
    """Return the number of cores this process may use: those of its affinity, within the quota of its control group.

    A quota of one and a half cores counts as two. A quota that is missing or cannot be read is ignored.

    Args:
        cgroup: Folder of the control group, of version 2 (``cpu.max``) or 1 (``cpu/cpu.cfs_quota_us``).
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    """Return the quota of a control group in cores, a fraction; None without a limit."""
    try:
        if (file := cgroup / "cpu.max").is_file():
            limit, period = file.read_text().split()
        else:
            limit, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        quota = int(limit) / int(period)  # "max" is no number, and version 1 says -1
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return quota if quota > 0 else None


def wait_asleep() -> None:
    """Let threads of libraries loaded from now on sleep while they wait, unless the environment says otherwise.

    By default a waiting thread spins. With more threads than free cores it takes the core from the thread that it waits
    for: encoding took five times as long (`busy`), and so did an answer, as the threads of NumPy's and SciPy's OpenBLAS
    spin for some 20 ms after each product. The number of threads stays the same. OpenMP and OpenBLAS read this when
    they are loaded, so it has no effect after NumPy and torch are imported.
    """
    if not any(name in os.environ for name in (WAITING, *SPINNING)):
        os.environ[WAITING] = "PASSIVE"
    os.environ.setdefault(BLAS_WAITING, AT_ONCE)
