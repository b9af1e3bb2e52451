"""An actor of Ray: it holds the encoder and its decoders, and turns a batch into vectors as `encode` does."""

import socket
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from indexing.arrays import Vectors
from indexing.encoders import load_encoder
from indexing.encoders.base import Encoder, check_golden
from indexing.errors import CommonspaceError, EncoderMismatchError, EngineError
from indexing.media.decode import Task
from indexing.media.files import size_of
from indexing.media.pool import DecodePool
from indexing.store.batch_encoder import EncodedBatch, File, LocalBatchEncoder


class DecodeLimits(NamedTuple):
    """How many processes decode for an actor (one for each of its processors when None), and what a file may cost."""

    workers: int | None
    seconds: float
    memory: int


class LoadedBy(NamedTuple):
    """How an actor gets the encoder, and what it must be: the same, with the golden vectors that it gives the driver.

    It is loaded by name; one that is not of this project is sent as the object itself.
    """

    name: str
    precision: str
    device: str
    bridge: bytes | None
    fingerprint: str
    golden: Vectors
    itself: Encoder | None


class EncodingActor:
    """Encodes batches: one at a time, while the files of the next are decoded.

    Args:
        arguments: The encoder, what decoding is for, and what it may cost.
    """

    def __init__(self, arguments: tuple[LoadedBy, Task, DecodeLimits]) -> None:
        how, task, limits = arguments
        self._failure: Exception | None = None
        try:
            encoder = _load(how)
        except Exception as error:
            self._failure = error
            return
        pool = DecodePool(task, limits.workers or 0, seconds=limits.seconds, memory=limits.memory)
        self._encoder = LocalBatchEncoder(encoder, pool, lambda _: nullcontext(), 0)
        self._one = threading.Lock()

    def ready(self) -> None:
        """Raise what kept the encoder from being loaded.

        Raises:
            EngineError: When the node has other weights under the name of the encoder, or other vectors come of them.
        """
        if self._failure is not None:
            raise self._failure

    def encode(self, texts: Sequence[str], files: Sequence[File]) -> EncodedBatch:
        """Encode a batch.

        Raises:
            EngineError: When this node cannot read a file that the driver has read.
        """
        for file in files:
            if isinstance(file.source, Path):
                _check_readable(file.source)
        pending = self._encoder.begin(texts, files)
        with self._one:
            return pending()


def _check_readable(path: Path) -> None:
    """Raise an error for a file that the driver has read: each that only this node lacks would be quarantined."""
    try:
        size_of(path)
        path.open("rb").close()
    except OSError as error:
        raise EngineError(
            f"the node {socket.gethostname()} cannot read {path}, which the driver has read "
            f"({error.strerror or error}): keep files on a file system that all nodes share under the same path, "
            "or in the source itself"
        ) from error


def _load(how: LoadedBy) -> Encoder:
    try:
        encoder = how.itself or load_encoder(how.name, precision=how.precision, device=how.device, bridge=how.bridge)
    except CommonspaceError as error:
        raise EngineError(f"the node {socket.gethostname()} cannot load the encoder {how.name}: {error}") from error
    if encoder.info.fingerprint != how.fingerprint:
        raise EngineError(
            f"the node {socket.gethostname()} has other weights or packages for {how.name}: its fingerprint is "
            f"{encoder.info.fingerprint}, that of the driver {how.fingerprint}"
        )
    try:
        check_golden(encoder, how.golden)
    except EncoderMismatchError as error:
        raise EngineError(
            f"on the node {socket.gethostname()} the encoder {how.name} gives other vectors than for the driver: "
            f"install the same releases of packages on all nodes ({error})"
        ) from error
    return encoder
