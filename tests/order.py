"""The order in which several workers take the tests: each begins with some slow ones, so that none starts last."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def slow_first(slow: Sequence[Sequence[T]], others: Sequence[T], workers: int) -> list[T]:
    """Give all tests in an order whose shares, one a worker as `--dist worksteal` cuts them, begin with slow ones.

    Args:
        slow: Groups of slow tests, each of which one worker takes.
        others: The other tests, which keep their order.
        workers: How many there are.

    >>> slow_first(["S", "TU", "V"], list("abcdef"), 2)
    ['S', 'V', 'a', 'b', 'c', 'T', 'U', 'd', 'e', 'f']
    """
    order: list[T] = []
    total, taken = sum(map(len, slow)) + len(others), 0
    for worker in range(workers):
        first = [test for group in slow[worker::workers] for test in group]
        share = (total - len(order)) // (workers - worker)
        count = max(share - len(first), 0)
        order += [*first, *others[taken : taken + count]]
        taken += count
    return order
