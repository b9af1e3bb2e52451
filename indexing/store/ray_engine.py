"""Encoding with Ray: where to encode, and how actors get the encoder.

Ray is imported when encoding starts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from indexing.encoders.base import Encoder, HasBridge, golden_vectors
from indexing.errors import InputError
from indexing.media.decode import Task
from indexing.runtime.arguments import check_kind, check_number, check_whole
from indexing.runtime.ray_cluster import ADDRESS, WHICH_ADDRESS, connected
from indexing.store.batch_encoder import Timed
from indexing.store.ray_actor import DecodeLimits, LoadedBy
from indexing.store.ray_batch_encoder import RayBatchEncoder, Room

START_SECONDS = 300.0  # until the first actor has loaded its encoder


@dataclass(frozen=True)
class RayEngine:
    """Where and with what to encode.

    Attributes:
        address: Of a cluster's head, as ``"10.0.0.5:6379"``, or ``"auto"`` on one of its nodes; None starts a cluster
            of this machine, which ends with the encoding. A process that is connected to one already uses that.
        actors: How many hold an encoder; as many as the cluster has room for when None.
        cpus: Processors of each.
        gpus: GPUs of each, a part of one too.
        start_seconds: Longest time until an actor has loaded its encoder.
    """

    address: str | None = None
    actors: int | None = None
    cpus: float = 1
    gpus: float = 0
    start_seconds: float = START_SECONDS

    def __post_init__(self) -> None:
        if self.address is not None:
            check_kind(self.address, str, "address", WHICH_ADDRESS)
            if not ADDRESS.fullmatch(self.address):
                raise InputError(f"address is {self.address!r}: {WHICH_ADDRESS}")
        if self.actors is not None:
            check_whole(self.actors, "actors", 1)
        check_number(self.cpus, "cpus", "give a number of more than 0", above=0)
        check_number(self.gpus, "gpus", "give 0 or more", minimum=0)
        check_number(self.start_seconds, "start_seconds", "give a number of more than 0", above=0)


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
    with connected(engine.address) as ray:
        room = Room(engine.actors, engine.cpus, engine.gpus, engine.start_seconds)
        actors = RayBatchEncoder(ray, room, _loaded_by(encoder, engine.gpus), task, limits, timed)
        try:
            yield actors
        finally:
            actors.stop()


def _loaded_by(encoder: Encoder, gpus: float) -> LoadedBy:
    """Say how actors get an encoder; weights of named ones come from the hub or the disk of each node."""
    info = encoder.info
    named = type(encoder).__module__.partition(".")[0] == "indexing"
    bridge = encoder.bridge_bytes() if named and isinstance(encoder, HasBridge) else None
    itself, device = None if named else encoder, "cuda" if gpus else "cpu"  # and no other without a word
    return LoadedBy(info.name, info.precision, device, bridge, info.fingerprint, golden_vectors(encoder), itself)
