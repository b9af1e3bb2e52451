"""Work that is done again and again, whatever fails in between."""

import signal
from collections.abc import Callable
from time import sleep

from indexing.errors import CommonspaceError
from retrieval.cli.display.terminal import say

MIN_SECONDS = 1.0


def repeat(work: Callable[[], None], seconds: float) -> None:
    """Do something until the process is ended, by Ctrl-C or SIGTERM; an error is said, and it is tried again.

    Args:
        work: What to do.
        seconds: To wait before, each time.
    """
    # The first process of a container is not ended by SIGTERM unless it says so.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    while True:
        sleep(seconds)
        try:
            work()
        except (CommonspaceError, OSError) as error:
            message = error.for_terminal if isinstance(error, CommonspaceError) else str(error)
            say(f"commonspace: {' '.join(message.split())}; tried again in {seconds:g} s", err=True)
