"""Options that say what does the work: this process, or actors of Ray."""

from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from indexing.runtime.ray_engine import RayEngine
from retrieval.cli.display.terminal import UsageError

RAY = "Ray"

Engine = Annotated[
    Literal["local", "ray"],
    typer.Option("--engine", rich_help_panel=RAY, help="Work in this process, or with actors of Ray."),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", rich_help_panel=RAY, help="Cluster of Ray, HOST:PORT or auto; by default one of this machine."
    ),
]
Actors = Annotated[
    int | None,
    typer.Option("--actors", rich_help_panel=RAY, help="Actors of Ray; by default as many as there is room for."),
]
ActorCpus = Annotated[float, typer.Option("--actor-cpus", rich_help_panel=RAY, help="Processors of each actor of Ray.")]


@dataclass(frozen=True)
class EngineOptions:
    """What does the work."""

    engine: Engine = "local"
    address: Address = None
    actors: Actors = None
    actor_cpus: ActorCpus = RayEngine.cpus

    def ray_engine(self, gpus: float = 0) -> RayEngine | None:
        """Where actors work, with so many GPUs each; None for this process.

        Raises:
            UsageError: When actors are described, but not asked for.
        """
        engine = RayEngine(self.address, self.actors, self.actor_cpus, gpus)
        if self.engine == "ray":
            return engine
        if engine != RayEngine():
            raise UsageError("--address, --actors and more about actors are of --engine ray: give that too")
        return None
