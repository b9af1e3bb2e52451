"""A process that is forked after a search: an error at once, where it would wait for ever.

torch and FAISS compute in pools of threads, which a fork does not take along: the child waits for threads that it has
not got. One that is forked before anything was computed is free to compute.
"""

import os

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
