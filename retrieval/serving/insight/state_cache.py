"""Values that are computed once for each state of the bundle, and forgotten with it."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from retrieval.retriever.retriever import Retriever

T = TypeVar("T")
_lock = threading.Lock()
_background = ThreadPoolExecutor(1, "insight")
_values: WeakKeyDictionary[Retriever, dict[Hashable, Any]] = WeakKeyDictionary()


def per_state(retriever: Retriever, key: Hashable, make: Callable[[], T]) -> T:
    """Give a value of a state, made when it is first asked for; two threads that ask at once may both make it."""
    with _lock:
        known = _values.setdefault(retriever, {})
        if key in known:
            value: T = known[key]
            return value
    made = make()
    with _lock:
        return known.setdefault(key, made)  # type: ignore[no-any-return]


def in_background(retriever: Retriever, key: Hashable, make: Callable[[], T]) -> "Future[T]":
    """Give a value of a state that is made once, in a thread of its own, also where nobody waits for it any more.

    What failed is made anew when it is asked for again.
    """
    with _lock:
        known = _values.setdefault(retriever, {})
        if key in known:
            future: Future[T] = known[key]
            return future
        known[key] = future = _background.submit(make)
    future.add_done_callback(lambda done: known.pop(key, None) if done.exception() else None)
    return future
