"""A cluster of Ray: how it is reached, or started for this process alone.

Ray is imported when it is asked for. A cluster that is started here listens on this machine alone and asks for a token.
"""

import os
import re
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from indexing.errors import CommonspaceError, CommonspaceWarning, EngineError, import_extra
from indexing.runtime.threads import cores
from indexing.runtime.warn import warn

OLDEST = (2, 52)  # earlier releases let anybody who reaches a port run code, and have no tokens
CONNECT_SECONDS = 10.0
OBJECT_STORE = 512 << 20  # bytes that a cluster of this machine shares
ADDRESS = re.compile(r"auto|[^\s/:]+:\d+|\[[0-9a-fA-F:]+\]:\d+")
WHICH_ADDRESS = "give that of the cluster's head as 'HOST:6379', or 'auto' on one of its nodes"
MODES = ("token", "disabled")
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # an actor without a GPU sees none
}
# Ray takes 127.0.0.1 for the address by which others reach it, except where it has no clusters of several machines.
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
LOOPBACK = ("127.0.0.1", "::1")
QUIET = {"log_to_driver": False, "logging_level": "ERROR"}


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Connect this process to a cluster, and give Ray; what is begun here ends with the block.

    Args:
        address: Of a cluster's head, as ``"10.0.0.5:6379"``, or ``"auto"`` on one of its nodes; None starts a cluster
            of this machine. A process that is connected to one already uses that.

    Raises:
        EngineError: When the cluster cannot be reached, or would be open to others.
        MissingExtraError: When Ray is not installed.
    """
    ray = import_ray(address)
    connects = not ray.is_initialized()
    if not connects and address is not None:
        raise EngineError("this process is connected to a cluster of Ray already: leave out address")
    if connects:
        _connect(ray, address)
    try:
        yield ray
    finally:
        if connects:
            ray.shutdown()


def import_ray(address: str | None, oldest: tuple[int, int] = OLDEST) -> Any:  # noqa: ANN401 - a module
    """Import Ray with safe settings, where none are given.

    Args:
        address: As `connected`.
        oldest: Release that is the first in which not everybody can run code.

    Raises:
        EngineError: When it is too old, or ``RAY_AUTH_MODE`` is none that Ray knows.
        MissingExtraError: When it is not installed.
    """
    _check_mode()
    if "ray" not in sys.modules:  # which reads them when it is imported
        for name, value in (ENVIRONMENT | (ALONE if address is None else {})).items():
            os.environ.setdefault(name, value)
    ray = import_extra("ray", "ray")
    release = tuple(int(part) for part in ray.__version__.split(".")[:2])
    if release < oldest:
        needed = ".".join(map(str, oldest))
        raise EngineError(f"Ray {ray.__version__} is older than {needed}, which anybody can run code in: update it")
    return ray


def _check_mode() -> None:
    """Check ``RAY_AUTH_MODE``: with any other word Ray asks for no token, and says nothing. An empty one is none."""
    mode = os.environ.get("RAY_AUTH_MODE")
    if mode == "" and "ray" not in sys.modules:
        del os.environ["RAY_AUTH_MODE"]
    elif mode not in (None, *MODES):
        raise EngineError(
            f"RAY_AUTH_MODE is {mode!r}; set it to 'token', to 'disabled' where whoever reaches the cluster may run "
            "programs on it, or leave it out, which is 'token'"
        )


def _connect(ray: Any, address: str | None) -> None:  # noqa: ANN401 - a module
    if "RAY_AUTH_MODE" not in os.environ:
        raise EngineError("Ray was imported before RAY_AUTH_MODE was set: set it to token first, or call ray.init")
    if address is None:
        if named := os.environ.get("RAY_ADDRESS"):
            warn(
                f"RAY_ADDRESS is {named!r}, and not used: a cluster of this machine is started, since no address was "
                "given (address=, --address)",
                CommonspaceWarning,
            )
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
        # In no file, and gone with this process. With an empty one Ray would make one, and keep it in a file.
        os.environ["RAY_AUTH_TOKEN"] = os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32)
    ray.init(
        "local",  # a cluster that the environment names is not meant
        num_cpus=cores(),
        include_dashboard=False,
        object_store_memory=OBJECT_STORE,
        **QUIET,
    )


def first_line(error: Exception) -> str:
    """Return what an error says, without the traceback that Ray adds."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def losses(ray: Any) -> tuple[type[Exception], ...]:  # noqa: ANN401 - a module
    """Return the errors that say that an actor, its node, or an answer that was on it is lost."""
    errors = ray.exceptions
    return (
        errors.RayActorError,
        errors.ObjectLostError,
        errors.OutOfMemoryError,
        errors.WorkerCrashedError,
        errors.NodeDiedError,
    )


def answer_of(ray: Any, reference: Any, seconds: float | None = None) -> Any:  # noqa: ANN401 - of Ray
    """Wait for an answer; raise an error of this project as the actor raised it.

    Args:
        ray: The module.
        reference: Of the answer.
        seconds: How long to wait at most.
    """
    try:
        return ray.get(reference, timeout=seconds)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, CommonspaceError):
            raise error.cause from error
        if isinstance(error.cause, OSError):  # a full disk, for instance
            raise OSError(error.cause.errno, error.cause.strerror, error.cause.filename) from error
        raise
