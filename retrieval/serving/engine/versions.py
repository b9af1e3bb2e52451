"""Other versions than the one that is served: earlier generations, and any generation without what it learned."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from indexing.errors import CommonspaceError, InputError
from retrieval.serving.engine.admission import OverloadedError
from retrieval.serving.engine.request import current_request

if TYPE_CHECKING:
    from retrieval.serving.engine.served_bundle import Served


class Version(NamedTuple):
    """Which version of the bundle a request asks for.

    Attributes:
        generation: Name of a generation; None is the one that is served.
        learned: Whether with what it learned of users.
    """

    generation: str | None = None
    learned: bool = True


AS_SERVED = Version()


class OpenVersions:
    """The versions that requests asked for last; those that were not asked for the longest time are closed.

    A thread opens one version at a time. Requests wait for it within their deadline, without keeping a thread that
    others could be answered by, and whoever asks again finds it open.

    Args:
        open_version: Opens a version, given what is served.
        most: How many are open at once.
    """

    def __init__(self, open_version: Callable[[Version, "Served"], "Served"], most: int) -> None:
        self.most, self._open_version = most, open_version
        self._recent: OrderedDict[Version, Served] = OrderedDict()
        self._opening: dict[Version, asyncio.Task[Served]] = {}
        self._turn, self._lock = asyncio.Lock(), threading.Lock()

    def all(self) -> list["Served"]:
        """Give those that are open."""
        with self._lock:
            return list(self._recent.values())

    def get(self, version: Version) -> "Served | None":
        """Give a version if it is open."""
        with self._lock:
            if version in self._recent:
                self._recent.move_to_end(version)
            return self._recent.get(version)

    async def opened(self, version: Version, current: "Served") -> "Served":
        """Open a version, or wait for those who are opening it.

        Raises:
            GenerationError: When it is not kept, or cannot be served.
            InputError: When this service opens none.
            OverloadedError: When it is not open at the deadline of the request.
        """
        if not self.most:
            raise InputError("this service opens no other versions than those of its scenarios; ask without one")
        task = self._opening.get(version)
        if task is None:
            task = self._opening[version] = asyncio.create_task(self._in_turn(version, current))
            task.add_done_callback(lambda done: self._ended(version, done))
        done, _ = await asyncio.wait([task], timeout=max(current_request().seconds_left, 0.0))
        if not done:
            raise OverloadedError(503, "opening")
        return task.result()

    def follow(self, current: "Served", follow: Callable[["Served"], "Served"]) -> None:
        """Take the changes that what is served has, and close what is served now, or cannot take them."""
        with self._lock:
            open_now = dict(self._recent)
        for version, before in open_now.items():
            is_current = version == Version(current.generation)
            if not is_current and before.change == current.change:
                continue
            after = None
            if not is_current:
                with suppress(CommonspaceError, OSError):  # who asks for it next is told why
                    after = follow(before)
            with self._lock:
                if self._recent.get(version) is not before:
                    continue
                if after is None:
                    del self._recent[version]
                else:
                    self._recent[version] = after

    async def _in_turn(self, version: Version, current: "Served") -> "Served":
        async with self._turn:
            opened = await asyncio.to_thread(self._open_version, version, current)
        with self._lock:
            self._recent[version] = opened
            while len(self._recent) > self.most:
                self._recent.popitem(last=False)
        return opened

    def _ended(self, version: Version, task: "asyncio.Task[Served]") -> None:
        del self._opening[version]
        if not task.cancelled():
            task.exception()  # perhaps nobody waits for it any more
