"""An array that only grows at its end, shared by readers of different ages."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPARE = 1.25


class Growing:
    """Rows that stay where they are while more are added; a reader of the first n sees those n for ever.

    Readers that follow the same log add the same rows at the same place, so only the first of them has to.

    >>> rows = Growing(np.arange(3))
    >>> rows.extended(3, np.array([7, 8])).tolist(), rows.extended(3, np.array([7, 8])).tolist()
    ([0, 1, 2, 7, 8], [0, 1, 2, 7, 8])
    """

    def __init__(self, rows: NDArray[Any]) -> None:
        self._buffer, self._used = rows, len(rows)
        self._lock = threading.Lock()

    def first(self, count: int) -> NDArray[Any]:
        """Give the first ``count`` rows."""
        return self._buffer[:count]

    def extended(self, start: int, more: NDArray[Any]) -> NDArray[Any]:
        """Give the first ``start`` rows and ``more`` after them."""
        end = start + len(more)
        with self._lock:
            if end > self._used:
                if end > len(self._buffer):
                    room = np.empty((int(end * SPARE), *self._buffer.shape[1:]), self._buffer.dtype)
                    room[:start] = self._buffer[:start]
                    self._buffer = room
                self._buffer[start:end] = more
                self._used = end
            return self._buffer[:end]
