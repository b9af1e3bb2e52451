"""The bundle that is served: one state at a time, replaced as a whole when another becomes current."""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import NamedTuple
from weakref import WeakValueDictionary

from indexing.bundle.bundle import Bundle
from indexing.bundle.maintenance.watched_changes import WatchedChanges
from indexing.encoders import Encoder
from indexing.errors import CommonspaceError, GenerationError
from indexing.filesystem.file_checks import Check, CheckProgress
from retrieval.retriever.loaded_bundle import encoder_of
from retrieval.retriever.retriever import Retriever
from retrieval.serving.engine.admission import OverloadedError
from retrieval.serving.engine.encoding import EncoderThread, SharedEncoder, shared_encoder
from retrieval.serving.engine.messages import in_words_of_service
from retrieval.serving.engine.metering import Meter, NoMeter, Problem
from retrieval.serving.engine.request import stage
from retrieval.serving.engine.versions import AS_SERVED, OpenVersions, Version

LOG = logging.getLogger("commonspace.serving")


class Served(NamedTuple):
    """One state of the bundle: a request is answered from one, from its start to its end.

    Attributes:
        retriever: That answers.
        generation: Name of the generation.
        change: Number of the last change that it has, 0 for none.
        learned: Whether it was asked for with what it learned.
    """

    retriever: Retriever
    generation: str
    change: int
    learned: bool = True

    @classmethod
    def of(cls, retriever: Retriever, *, learned: bool = True) -> "Served":
        """Name the state of a retriever."""
        state = retriever.bundle.state
        return cls(retriever, state.generation, state.last, learned)

    def refuse_damage(self) -> None:
        """Refuse to answer once a file of the generation is known to be damaged, also where the answer is of others.

        Raises:
            DamagedFileError: When one is.
        """
        self.retriever.state.refuse_damage()


class Unusable(NamedTuple):
    """Why a version cannot be served."""

    reason: str


def usable(found: Served | Unusable) -> Served:
    """Give what answers.

    Raises:
        GenerationError: When it cannot.
    """
    if isinstance(found, Unusable):
        raise GenerationError(found.reason)
    return found


class View(NamedTuple):
    """What is served at a moment.

    Attributes:
        current: The current state.
        pinned: Other versions that are always open, by what was asked for; or why one cannot be served.
    """

    current: Served
    pinned: Mapping[Version, Served | Unusable]

    def get(self, version: Version) -> Served | None:
        """Give a version, if it is the current state or pinned.

        Raises:
            GenerationError: When it is pinned, and cannot be served.
        """
        if version in self.pinned:
            return usable(self.pinned[version])
        current = self.current
        is_served = version.generation in (None, current.generation)
        if is_served and (version.learned or not current.retriever.bundle.generation.has_learned):
            return current._replace(learned=version.learned)
        return None

    def concrete(self, version: Version) -> Version:
        """Name the generation of a version."""
        return version._replace(generation=version.generation or self.current.generation)


class ServedBundle:
    """Gives the current state of a bundle, and follows it; beside it other versions that requests ask for.

    A state lives as long as a request uses it. One that cannot be opened is not served: the one before it stays, and
    ``problem`` says why.

    Args:
        path: Folder of the bundle.
        encoder: The encoder that built it; loaded by name when None.
        meter: Is given which state is served.
        open_versions: How many versions that requests ask for are open at once, beside the pinned ones.
        check: When the files of generations are compared with their records; see `Bundle.open`.

    Attributes:
        view: What is served now; replaced as a whole.
        damaged_changes: Which of the changes is damaged since it was read, if one is.
        checks: Say by name what cannot answer by what is served, and why; called before it is served.
        events_problem: Says why the last write of live events failed; None where it did not.

    Raises:
        BundleError: When there is no bundle, or it is damaged.
    """

    def __init__(
        self,
        path: Path | str,
        encoder: Encoder | None = None,
        meter: Meter | None = None,
        *,
        open_versions: int = 2,
        check: Check = "all",
    ) -> None:
        self.thread, self._meter = EncoderThread(), meter or NoMeter()
        self._following = threading.Lock()
        self.others = OpenVersions(self._opened, open_versions)
        self.checks: list[Callable[[View], Mapping[str, str]]] = []
        self.events_problem: Callable[[], str | None] = lambda: None
        self._pins: frozenset[Version] = frozenset()
        self._encoders: WeakValueDictionary[str, SharedEncoder] = WeakValueDictionary()
        self.root = Path(path).absolute()  # one name of it in all messages
        bundle = Bundle.open(self.root, check=check)
        shared = None if encoder is None else self._shared(encoder)
        self.view = View(Served.of(Retriever(bundle, shared or self._encoder_of(bundle))), {})
        self.problem: str | None = None
        self.damaged_changes: str | None = None
        self._changes = WatchedChanges()
        self._note(None)

    @property
    def current(self) -> Served:
        """The current state."""
        return self.view.current

    @property
    def files(self) -> CheckProgress:
        """How far the files of the current generation were compared, and what is damaged."""
        return self.current.retriever.bundle.generation.checks.progress

    @property
    def degraded(self) -> str | None:
        """Why the index finds less than it promises; None where it keeps its promise."""
        status = self.current.retriever.status
        return f"the recall of the index is below its target: {', '.join(status.reasons)}" if status.degraded else None

    def problems(self, *, brief: bool = False) -> list[str]:
        """Say what is wrong with what is served: damage, it cannot be followed, finds too little, or fails a check.

        Args:
            brief: Only name what a check finds, for those who may not know what the bundle holds.
        """
        found = [
            problem
            for problem in (self.files.damaged, self.problem, self.damaged_changes, self.degraded)
            if problem is not None
        ]
        if (events := self.events_problem()) is not None:
            found.append(f"the last write of live events failed{'; /status says why' if brief else f': {events}'}")
        checked = [one for check in self.checks for one in check(self.view).items()]
        return [*found, *(f"{name} cannot answer; /status says why" if brief else why for name, why in checked)]

    def pin(self, versions: Set[Version]) -> None:
        """Keep versions open, whatever requests ask for; `View.pinned` says which of them cannot be served."""
        self._pins = frozenset(versions)
        self.view = self._view_of(self.current)

    async def opened(self, version: Version) -> Served:
        """Give a version, opened if need be.

        Raises:
            GenerationError: When it is not kept, or cannot be served.
            OverloadedError: When it is not open at the deadline of the request.
        """
        view = self.view
        concrete = view.concrete(version)
        if (found := view.get(version) or self.others.get(concrete)) is not None:
            return found
        try:
            with stage("open"):
                return await self.others.opened(concrete, view.current)
        except OverloadedError:
            self._meter.rejected("opening")
            raise

    async def opened_all(self, versions: Set[Version]) -> dict[Version, Served | Unusable]:
        """Give versions, opened if need be, but for the one that is served; or why one cannot be served.

        Raises:
            OverloadedError: When one is not open at the deadline of the request.
        """
        found: dict[Version, Served | Unusable] = {}
        for version in versions - {AS_SERVED}:
            try:
                found[version] = await self.opened(version)
            except GenerationError as error:
                found[version] = Unusable(in_words_of_service(error))
        return found

    def follow(self) -> bool:
        """Serve the state that is current now; say whether it is another one."""
        with self._following:  # who asks twice must not put an older state back
            return self._follow()

    def _follow(self) -> bool:
        try:
            after = self._newer(self.current.retriever)
            if after is not None:
                view = self._view_of(Served.of(after))
                unanswered = [why for check in self.checks for why in check(view).values()]
                self.view = view
                LOG.info("serving %s with change %d", self.current.generation, self.current.change)
                for why in unanswered:
                    LOG.warning("%s", why)
            self.others.follow(self.current, self._followed)
            self._look_at_changes()
        except (CommonspaceError, OSError) as error:
            self._note(f"{type(error).__name__}: {error}")
            return False
        self._note(None)
        return after is not None

    def _look_at_changes(self) -> None:
        """Note damage of the changes that are served from memory, which an edit or a restart would meet."""
        found = self._changes.damage(self.current.retriever.bundle)
        if found is not None and found != self.damaged_changes:
            LOG.warning("%s", found)
        self.damaged_changes = found

    def _newer(self, before: Retriever) -> Retriever | None:
        """Open the state that is current now; None where it is served already."""
        bundle = before.bundle.latest()
        return None if bundle is before.bundle else Retriever(bundle, self._encoder_of(bundle), previous=before)

    def _note(self, problem: str | None) -> None:
        """Keep why the bundle cannot be followed, None if it can, and measure what is served."""
        if problem is not None and problem != self.problem:
            LOG.warning("the bundle cannot be followed: %s", problem)
        self.problem = problem
        served, recall = self.current, self.current.retriever.status.recall
        problems: dict[Problem, bool] = {
            "bundle": any(one is not None for one in (problem, self.damaged_changes, self.files.damaged)),
            "recall": self.degraded is not None,
            "scenarios": any(check(self.view) for check in self.checks),
            "events": self.events_problem() is not None,
        }
        until = served.retriever.bundle.manifest.learned.get("until")
        self._meter.serving(served.generation, served.change, recall, problems, 0.0 if until is None else float(until))

    def open_generations(self) -> set[str]:
        """Name the generations that are open, with what they learned."""
        view = self.view
        known = (view.current, *view.pinned.values(), *self.others.all())
        return {one.generation for one in known if isinstance(one, Served) and one.learned}

    def close(self) -> None:
        """End the thread of the encoder."""
        self.thread.close()

    def _view_of(self, current: Served) -> View:
        """Give what is served with a state as the current one."""
        view = View(current, {})
        pinned: dict[Version, Served | Unusable] = {}
        for version in self._pins:
            try:
                pinned[version] = view.get(version) or self._opened(view.concrete(version), current)
            except (CommonspaceError, OSError) as error:
                pinned[version] = Unusable(in_words_of_service(error))
        return View(current, pinned)

    def _opened(self, version: Version, current: Served) -> Served:
        """Open a version, of what is in memory as far as it is.

        Raises:
            GenerationError: When it is not kept, or cannot take the changes since.
        """
        pinned = [one for one in self.view.pinned.values() if isinstance(one, Served)]
        known = (current, self.current, *pinned, *self.others.all())
        same = [one for one in known if one.generation == version.generation]
        for one in same:
            if one.retriever.bundle.is_pinned and one.learned == version.learned:
                return self._followed(one)
        whole = next((one.retriever.bundle for one in same if one.retriever.bundle.generation.is_whole), None)
        if whole is None:
            opened = current.retriever.bundle
            bundle = Bundle.open(opened.root, generation=version.generation, check=opened.check)
        else:
            bundle = whole.pinned().latest()
        if not version.learned:
            bundle = bundle.without_learned()
        previous = next((one.retriever for one in same if one.retriever.bundle.generation is bundle.generation), None)
        retriever = Retriever(bundle, self._encoder_of(bundle), previous=previous)
        return Served.of(retriever, learned=version.learned)

    def _followed(self, before: Served) -> Served:
        """Give an open version with the changes since."""
        after = before.retriever.latest()
        return before if after is before.retriever else Served.of(after, learned=before.learned)

    def _encoder_of(self, bundle: Bundle) -> Encoder | None:
        """Give the encoder that built a bundle, loaded once; None where vectors came with the items."""
        built = bundle.manifest.encoder
        known = self._encoders.get(built.fingerprint)
        if known is not None or built.precomputed:
            return known
        return self._shared(encoder_of(bundle))

    def _shared(self, encoder: Encoder) -> SharedEncoder:
        shared = shared_encoder(encoder, self.thread)
        self._encoders[shared.info.fingerprint] = shared
        return shared

    async def watch(self, seconds: float) -> None:
        """Follow the bundle for ever, with a pause between two looks."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await asyncio.to_thread(self.follow)
            except Exception as error:  # the state that is served stays
                self._note(type(error).__name__)
