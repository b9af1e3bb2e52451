"""Batches encoded by actors of Ray: sent to where there is the least to do, and again when an actor is lost.

Between driver and actors go texts, paths or bytes of files, and vectors; never pixels. The driver composes, begins and
stores batches in the same order as without Ray, and alone writes, so that the store is the same.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from indexing.errors import CommonspaceError, CommonspaceWarning, EngineError
from indexing.media.decode import Task
from indexing.runtime.ray_cluster import first_line
from indexing.runtime.warn import warn
from indexing.store.batch_encoder import EncodedBatch, File, Pending, Timed
from indexing.store.ray_actor import DecodeLimits, EncodingActor, LoadedBy

BATCHES_EACH = 2  # under way for each actor: one is decoded while another is encoded
MAX_TRIES = 4  # of a batch, each on an actor that was lost; and of actors in a row to start


class Room(NamedTuple):
    """How many actors there are to be, what each takes, and how long the first may take to start."""

    actors: int | None
    cpus: float
    gpus: float
    start_seconds: float

    def count(self, resources: dict[str, float]) -> int:
        """Return how many actors a cluster with such resources is given.

        Raises:
            EngineError: When it has no room for one.
        """
        each = {"CPU": self.cpus, "GPU": self.gpus}
        most = min(int(resources.get(name, 0) / number) for name, number in each.items() if number)
        if most < 1:
            has = {name: resources.get(name, 0) for name in each}
            raise EngineError(
                f"an actor needs {each}, and the cluster has {has}",
                python="add nodes, or lower cpus or gpus",
                cli="add nodes, or lower --actor-cpus or --actor-gpus",
            )
        if self.actors is not None and most < self.actors:
            warn(f"{self.actors} actors were asked for, and the cluster has room for {most}", CommonspaceWarning)
        return most if self.actors is None else self.actors


class _Job:
    """A batch that an actor works at."""

    def __init__(self, texts: Sequence[str], files: Sequence[File]) -> None:
        self.work = list(texts), [_from_anywhere(file) for file in files]
        self.actor: Any = None
        self.answer: Any = None
        self.tries = 0


class RayBatchEncoder:
    """Sends batches to actors, each to the one that has the least to do, and again when an actor is lost.

    An actor that is lost is replaced as soon as the cluster has room; meanwhile the others continue.

    Args:
        ray: The module, connected to a cluster.
        room: How many actors, and what each takes.
        how: What they hold.
        task: What decoding is for.
        limits: What decoding may cost.
        timed: Adds the time of a block to a stage.

    Raises:
        EngineError: When the cluster has no room for an actor, or none starts.
    """

    def __init__(
        self,
        ray: Any,  # noqa: ANN401 - a module
        room: Room,
        how: LoadedBy,
        task: Task,
        limits: DecodeLimits,
        timed: Timed,
    ) -> None:
        self._ray, self._room, self.task, self._timed = ray, room, task, timed
        errors = ray.exceptions
        self._lost = (  # an actor, its node, or an answer that was on it
            errors.RayActorError,
            errors.ObjectLostError,
            errors.OutOfMemoryError,
            errors.WorkerCrashedError,
            errors.NodeDiedError,
        )
        workers = max(1, int(room.cpus)) if limits.workers is None else limits.workers
        arguments = ray.put((how, task, limits._replace(workers=workers)))
        remote = ray.remote(EncodingActor).options(
            num_cpus=room.cpus, num_gpus=room.gpus, max_concurrency=BATCHES_EACH, max_restarts=0
        )
        self._make: Callable[[], Any] = lambda: remote.remote(arguments)
        self._actors: list[Any] = []
        self._starting: dict[Any, Any] = {}
        self._lost_while_starting = 0
        self._jobs: list[_Job] = []
        self._count = room.count(ray.cluster_resources())
        for _ in range(self._count):
            self._start_actor()
        self._await_actor()

    @property
    def ahead(self) -> int:
        """How many batches may be begun before the first of them is asked for."""
        return BATCHES_EACH * self._count

    def begin(self, texts: Sequence[str], files: Sequence[File]) -> Pending:
        """Send a batch to an actor."""
        job = _Job(texts, files)
        self._jobs.append(job)
        self._send(job)
        return lambda: self._finish(job)

    def stop(self) -> None:
        """End the actors."""
        for actor in (*self._actors, *self._starting.values()):
            self._ray.kill(actor)

    def _start_actor(self) -> None:
        actor = self._make()
        self._starting[actor.ready.remote()] = actor

    def _admit(self, seconds: float) -> None:
        """Take actors that are ready into use, waiting for one at most so long."""
        ready, _ = self._ray.wait(list(self._starting), timeout=seconds) if self._starting else ([], [])
        for reference in ready:
            actor = self._starting.pop(reference)
            try:
                self._get(reference)
            except (*self._lost, self._ray.exceptions.RayTaskError) as error:
                self._check_start(error)
                self._start_actor()
            else:
                self._lost_while_starting = 0
                self._actors.append(actor)

    def _check_start(self, error: Exception) -> None:
        """Raise an error when an actor that did not start would not start another time."""
        if isinstance(error, self._ray.exceptions.RayTaskError) or getattr(error, "actor_init_failed", False):
            raise EngineError(
                f"an actor of Ray does not start ({_last_line(error)}): all nodes need this project, its packages and, "
                "for an encoder of yours, its module, in the same releases"
            ) from error
        self._lost_while_starting += 1
        if self._lost_while_starting == MAX_TRIES:
            raise EngineError(
                f"{MAX_TRIES} actors of Ray were lost one after the other while they loaded the encoder: "
                f"is there memory enough for it? ({first_line(error)})"
            ) from error

    def _await_actor(self) -> None:
        end = monotonic() + self._room.start_seconds
        while not self._actors:
            if monotonic() > end:
                raise EngineError(
                    f"no actor of Ray was ready within {self._room.start_seconds:g} s: each needs {self._room.cpus:g} "
                    f"CPU and {self._room.gpus:g} GPU; what the cluster has free is {self._ray.available_resources()}"
                )
            self._admit(1.0)

    def _send(self, job: _Job) -> None:
        self._admit(0)
        self._await_actor()
        answers = [other.answer for other in self._jobs if other.answer is not None]
        busy = set(self._ray.wait(answers, num_returns=len(answers), timeout=0)[1] if answers else ())
        load = Counter(other.actor for other in self._jobs if other.answer in busy)
        job.actor = min(self._actors, key=lambda actor: load[actor])
        job.answer = job.actor.encode.remote(*job.work)

    def _finish(self, job: _Job) -> EncodedBatch:
        while True:
            try:
                with self._timed("encode"):
                    encoded: EncodedBatch = self._get(job.answer)
            except self._lost as error:
                self._send_again(job, error)
            else:
                self._jobs.remove(job)
                return encoded

    def _send_again(self, job: _Job, error: Exception) -> None:
        """Replace an actor that is lost, and give another one what it had to do."""
        job.tries += 1
        if job.tries == MAX_TRIES:
            raise EngineError(
                f"{MAX_TRIES} actors of Ray were lost at the same batch, which begins with {_shown(job)} "
                f"({first_line(error)}): is there memory enough for the encoder and a batch?",
                python="lower batch_size, or raise cpus so that a node has fewer actors",
                cli="lower --batch-size, or raise --actor-cpus so that a node has fewer actors",
            ) from error
        if job.actor in self._actors and not isinstance(error, self._ray.exceptions.ObjectLostError):
            self._actors.remove(job.actor)
            self._ray.kill(job.actor)  # one that only cannot be reached does not come back beside the new one
            self._start_actor()
        job.actor = job.answer = None
        self._send(job)

    def _get(self, reference: Any) -> Any:  # noqa: ANN401 - of Ray
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:  # what the actor raised, as it raised it
            if isinstance(error.cause, CommonspaceError):
                raise error.cause from error
            raise


def _from_anywhere(file: File) -> File:
    """Give a file whose path holds in the folder of an actor too."""
    return file._replace(source=file.source.absolute()) if isinstance(file.source, Path) else file


def _shown(job: _Job) -> str:
    texts, files = job.work
    first: object = texts[0] if texts else files[0].source
    return repr(first)[:80]


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
