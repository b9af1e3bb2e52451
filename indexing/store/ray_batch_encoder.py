"""Batches encoded by actors of Ray.

Between driver and actors go texts, paths or bytes of files, and vectors; never pixels. The driver composes, begins and
stores batches in the same order as without Ray, and alone writes, so that the store is the same.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from indexing.encoders.base import Encoder, HasBridge, golden_vectors
from indexing.media.decode import Task
from indexing.runtime.ray_cluster import connected
from indexing.runtime.ray_engine import RayEngine
from indexing.runtime.ray_pool import RayPool, Work
from indexing.store.batch_encoder import EncodedBatch, File, Pending, Timed
from indexing.store.ray_actor import DecodeLimits, EncodingActor, LoadedBy

AT_ONCE = 2  # batches of an actor: one is decoded while another is encoded
SMALLER = "lower batch_size", "lower --batch-size"


class RayBatchEncoder:
    """Encodes batches on a pool of actors.

    Args:
        pool: Of `EncodingActor`.
        task: What decoding is for.
        timed: Adds the time of a block to a stage.
    """

    def __init__(self, pool: RayPool, task: Task, timed: Timed) -> None:
        self._pool, self.task, self._timed = pool, task, timed

    @property
    def ahead(self) -> int:
        """How many batches may be begun before the first of them is asked for."""
        return self._pool.ahead

    def begin(self, texts: Sequence[str], files: Sequence[File]) -> Pending:
        """Send a batch to an actor."""
        first: object = texts[0] if texts else files[0].source
        work = list(texts), [_from_anywhere(file) for file in files]
        return self._timed_answer(self._pool.begin(work, repr(first)[:80]))

    def _timed_answer(self, answer: Callable[[], Any]) -> Pending:
        def encoded() -> EncodedBatch:
            with self._timed("encode"):
                batch: EncodedBatch = answer()
            return batch

        return encoded


@contextmanager
def ray_actors(
    engine: RayEngine, encoder: Encoder, task: Task, limits: DecodeLimits, timed: Timed
) -> Iterator[RayBatchEncoder]:
    """Start actors that encode, and end them afterwards, with the cluster where it was started for them.

    Args:
        engine: Where.
        encoder: What they hold, too.
        task: What decoding is for.
        limits: What decoding may cost.
        timed: Adds the time of a block to a stage.

    Raises:
        EngineError: When the cluster cannot be reached, or has no room for an actor.
        MissingExtraError: When Ray is not installed.
    """
    workers = max(1, int(engine.cpus)) if limits.workers is None else limits.workers
    arguments = _loaded_by(encoder, engine.gpus), task, limits._replace(workers=workers)
    with connected(engine.address) as ray:
        pool = RayPool(ray, engine, Work(EncodingActor, arguments, "encode", AT_ONCE, "the encoder", SMALLER))
        try:
            yield RayBatchEncoder(pool, task, timed)
        finally:
            pool.stop()


def _loaded_by(encoder: Encoder, gpus: float) -> LoadedBy:
    """Say how actors get an encoder; weights of named ones come from the hub or the disk of each node."""
    info = encoder.info
    named = type(encoder).__module__.partition(".")[0] == "indexing"
    bridge = encoder.bridge_bytes() if named and isinstance(encoder, HasBridge) else None
    itself, device = None if named else encoder, "cuda" if gpus else "cpu"  # and no other without a word
    return LoadedBy(info.name, info.precision, device, bridge, info.fingerprint, golden_vectors(encoder), itself)


def _from_anywhere(file: File) -> File:
    """Give a file whose path holds in the folder of an actor too."""
    return file._replace(source=file.source.absolute()) if isinstance(file.source, Path) else file
