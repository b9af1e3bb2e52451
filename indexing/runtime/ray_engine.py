"""Where actors of Ray work, and what each takes. Ray is imported when work starts."""

from dataclasses import dataclass

from indexing.errors import CommonspaceWarning, EngineError, InputError
from indexing.runtime.arguments import check_kind, check_number, check_whole
from indexing.runtime.ray_cluster import ADDRESS, WHICH_ADDRESS
from indexing.runtime.warn import warn

START_SECONDS = 300.0  # until the first actor has loaded what it works with


@dataclass(frozen=True)
class RayEngine:
    """Where actors work, and what each takes.

    Attributes:
        address: Of a cluster's head, as ``"10.0.0.5:6379"``, or ``"auto"`` on one of its nodes; None starts a cluster
            of this machine, which ends with the work. A process that is connected to one already uses that.
        actors: How many there are; as many as the cluster has room for when None.
        cpus: Processors of each.
        gpus: GPUs of each, a part of one too.
        start_seconds: Longest time until an actor has loaded what it works with.
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


def number_of_actors(engine: RayEngine, resources: dict[str, float]) -> int:
    """Return how many actors a cluster with such resources is given.

    Raises:
        EngineError: When it has no room for one.
    """
    each = {"CPU": engine.cpus, "GPU": engine.gpus}
    most = min(int(resources.get(name, 0) / number) for name, number in each.items() if number)
    if most < 1:
        has = {name: resources.get(name, 0) for name in each}
        raise EngineError(
            f"an actor needs {each}, and the cluster has {has}",
            python="add nodes, or lower cpus or gpus",
            cli="add nodes, or lower --actor-cpus or --actor-gpus",
        )
    if engine.actors is not None and most < engine.actors:
        warn(f"{engine.actors} actors were asked for, and the cluster has room for {most}", CommonspaceWarning)
    return most if engine.actors is None else engine.actors
