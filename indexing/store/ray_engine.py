"""Encoding with Ray: where its cluster is, how it is reached or started, and how actors get the encoder.

Ray is imported when encoding starts. A cluster that is started here listens on this machine alone and asks for a token.
"""

import os
import re
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from indexing.encoders.base import Encoder, HasBridge, golden_vectors
from indexing.errors import EngineError, InputError, import_extra
from indexing.media.decode import Task
from indexing.runtime.arguments import check_kind, check_number, check_whole
from indexing.runtime.threads import cores
from indexing.store.batch_encoder import Timed
from indexing.store.ray_actor import DecodeLimits, LoadedBy
from indexing.store.ray_batch_encoder import RayBatchEncoder, Room, first_line

OLDEST = (2, 52)  # earlier releases let anybody who reaches a port run code, and have no tokens
START_SECONDS = 300.0  # until the first actor has loaded its encoder
CONNECT_SECONDS = 10.0
OBJECT_STORE = 512 << 20  # bytes that a cluster of this machine shares
ADDRESS = re.compile(r"auto|[^\s/:]+:\d+|\[[0-9a-fA-F:]+\]:\d+")
WHICH_ADDRESS = "give that of the cluster's head as 'HOST:6379', or 'auto' on one of its nodes"
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # an actor without a GPU sees none
}
# Ray takes 127.0.0.1 for the address by which others reach it, except where it has no clusters of several machines.
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
LOOPBACK = ("127.0.0.1", "::1")
QUIET = {"log_to_driver": False, "logging_level": "ERROR"}


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
    ray = _import_ray(engine.address)
    connects = not ray.is_initialized()
    if connects:
        _connect(ray, engine.address)
    elif engine.address is not None:
        raise EngineError("this process is connected to a cluster of Ray already: leave out address")
    actors: RayBatchEncoder | None = None
    try:
        room = Room(engine.actors, engine.cpus, engine.gpus, engine.start_seconds)
        actors = RayBatchEncoder(ray, room, _loaded_by(encoder, engine.gpus), task, limits, timed)
        yield actors
    finally:
        if actors is not None:
            actors.stop()
        if connects:
            ray.shutdown()


def _import_ray(address: str | None) -> Any:  # noqa: ANN401 - a module
    if "ray" not in sys.modules:  # which reads them when it is imported
        for name, value in (ENVIRONMENT | (ALONE if address is None else {})).items():
            os.environ.setdefault(name, value)
    ray = import_extra("ray", "ray")
    release = tuple(int(part) for part in ray.__version__.split(".")[:2])
    if release < OLDEST:
        raise EngineError(f"Ray {ray.__version__} is older than 2.52, which anybody can run code in: update it")
    return ray


def _connect(ray: Any, address: str | None) -> None:  # noqa: ANN401 - a module
    if "RAY_AUTH_MODE" not in os.environ:
        raise EngineError("Ray was imported before RAY_AUTH_MODE was set: set it to token first, or call ray.init")
    if address is None:
        _start_cluster(ray)
        return
    try:
        _check_open(address)
        ray.init(address, **QUIET)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise EngineError(
            f"the cluster of Ray at {address!r} cannot be reached ({first_line(error)}): is it up, of the same release "
            "of Ray and Python, this machine one of its nodes, and RAY_AUTH_TOKEN its token?"
        ) from error


def _check_open(address: str) -> None:
    """Raise an error at once where nothing listens; Ray tries again for many minutes."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


def _start_cluster(ray: Any) -> None:  # noqa: ANN401 - a module
    if ray.util.get_node_ip_address() not in LOOPBACK:
        raise EngineError(
            "Ray was imported before, or told otherwise, and would start a cluster that other machines reach: encode "
            "before Ray is imported, or start a cluster of your own with ray.init"
        )
    if os.environ["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # in no file, and gone with this process
    ray.init(
        "local",  # a cluster that the environment names is not meant
        num_cpus=cores(),
        include_dashboard=False,
        object_store_memory=OBJECT_STORE,
        **QUIET,
    )


def _loaded_by(encoder: Encoder, gpus: float) -> LoadedBy:
    """Say how actors get an encoder; weights of named ones come from the hub or the disk of each node."""
    info = encoder.info
    named = type(encoder).__module__.partition(".")[0] == "indexing"
    bridge = encoder.bridge_bytes() if named and isinstance(encoder, HasBridge) else None
    itself, device = None if named else encoder, "cuda" if gpus else "cpu"  # and no other without a word
    return LoadedBy(info.name, info.precision, device, bridge, info.fingerprint, golden_vectors(encoder), itself)
