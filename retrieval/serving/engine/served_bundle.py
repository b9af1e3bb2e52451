"""The bundle that is served: one state at a time, replaced as a whole when another becomes current."""

import asyncio
import logging
import threading
from pathlib import Path
from typing import NamedTuple

from indexing.bundle.bundle import Bundle
from indexing.encoders import Encoder
from indexing.errors import CommonspaceError
from retrieval.retriever.loaded_bundle import encoder_of
from retrieval.retriever.retriever import Retriever
from retrieval.serving.engine.encoding import EncoderThread, shared_encoder
from retrieval.serving.engine.metering import Meter, NoMeter

LOG = logging.getLogger("commonspace.serving")


class Served(NamedTuple):
    """One state of the bundle: a request is answered from one, from its start to its end.

    Attributes:
        retriever: That answers.
        generation: Name of the generation.
        change: Number of the last change that it has, 0 for none.
    """

    retriever: Retriever
    generation: str
    change: int

    @classmethod
    def of(cls, retriever: Retriever) -> "Served":
        """Name the state of a retriever."""
        state = retriever.bundle.state
        return cls(retriever, state.generation, state.last)


class ServedBundle:
    """Gives the current state of a bundle, and follows it.

    A state lives as long as a request uses it. One that cannot be opened is not served: the one before it stays, and
    ``problem`` says why.

    Args:
        path: Folder of the bundle.
        encoder: The encoder that built it; loaded by name when None.
        meter: Is given which state is served.

    Raises:
        BundleError: When there is no bundle, or it is damaged.
    """

    def __init__(self, path: Path | str, encoder: Encoder | None = None, meter: Meter | None = None) -> None:
        self.thread, self._meter = EncoderThread(), meter or NoMeter()
        self._following = threading.Lock()
        bundle = Bundle.open(path)
        if encoder is not None:
            encoder = shared_encoder(encoder, self.thread)
        self.current: Served = Served.of(Retriever(bundle, encoder or self._loaded(bundle)))
        self.problem: str | None = None
        self.swaps = 0
        self._note(None)

    @property
    def degraded(self) -> str | None:
        """Why the index finds less than it promises; None where it keeps its promise."""
        status = self.current.retriever.status
        return f"the recall of the index is below its target: {', '.join(status.reasons)}" if status.degraded else None

    def follow(self) -> bool:
        """Serve the state that is current now; say whether it is another one."""
        with self._following:  # who asks twice must not put an older state back
            return self._follow()

    def _follow(self) -> bool:
        try:
            after = self._newer(self.current.retriever)
        except (CommonspaceError, OSError) as error:
            self._note(f"{type(error).__name__}: {error}")
            return False
        if after is not None:
            self.current = Served.of(after)
            self.swaps += 1
            LOG.info("serving %s with change %d", self.current.generation, self.current.change)
        self._note(None)
        return after is not None

    def _newer(self, before: Retriever) -> Retriever | None:
        """Open the state that is current now; None where it is served already."""
        bundle = before.bundle.latest()
        if bundle is before.bundle:
            return None
        known = before.state.known_encoder
        if known is not None and known.info.fingerprint != bundle.manifest.encoder.fingerprint:
            known = None
        return Retriever(bundle, known or self._loaded(bundle), previous=before)

    def _note(self, problem: str | None) -> None:
        """Keep why the bundle cannot be followed, None if it can, and measure what is served."""
        if problem is not None and problem != self.problem:
            LOG.warning("the bundle cannot be followed: %s", problem)
        self.problem = problem
        served, recall = self.current, self.current.retriever.status.recall
        degraded = problem is not None or self.degraded is not None
        self._meter.serving(served.generation, served.change, recall, degraded=degraded)

    def close(self) -> None:
        """End the thread of the encoder."""
        self.thread.close()

    def _loaded(self, bundle: Bundle) -> Encoder | None:
        """Load the encoder that built a bundle; None where vectors came with the items."""
        if bundle.manifest.encoder.precomputed:
            return None
        return shared_encoder(encoder_of(bundle), self.thread)

    async def watch(self, seconds: float) -> None:
        """Follow the bundle for ever, with a pause between two looks."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await asyncio.to_thread(self.follow)
            except Exception as error:  # the state that is served stays
                self._note(type(error).__name__)
