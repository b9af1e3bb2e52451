"""How threads of OpenMP wait for each other: asleep, so that a busy machine is not kept busier by those who wait."""

import os

WAITING = "OMP_WAIT_POLICY"
SPINNING = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # who sets one of these has decided how threads wait


def wait_asleep() -> None:
    """Let threads of libraries that are loaded from now on wait asleep, unless the environment says how they wait.

    By default a thread that waits for another spins. Where there are more threads than free cores it so takes the core
    from the thread that it waits for: encoding took five times as long (`scripts.benchmarks.busy`). How many threads there are stays as it
    is. OpenMP reads this when it is loaded, so that it has no effect once torch is.
    """
    if not any(name in os.environ for name in (WAITING, *SPINNING)):
        os.environ[WAITING] = "PASSIVE"
