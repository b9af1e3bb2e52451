"""Actors of Ray that share jobs: each job goes to the one that has the least to do, and again when an actor is lost."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from indexing.errors import EngineError
from indexing.runtime.ray_cluster import answer_of, first_line, losses
from indexing.runtime.ray_engine import RayEngine, number_of_actors

JOBS_EACH = 2  # under way for each actor, so that none waits for the driver
MAX_TRIES = 4  # of a job, each on an actor that was lost; and of actors in a row to start

Key = TypeVar("Key")


class Work(NamedTuple):
    """What actors hold and do.

    Attributes:
        actor: Their class; its ``ready`` raises what kept it from being made.
        arguments: What it is made from.
        method: Its method that does a job.
        at_once: How many jobs it may be in.
        holds: What it has loaded, in words.
        smaller: What makes a job smaller, in words of Python and of the command line.
    """

    actor: type
    arguments: object
    method: str
    at_once: int
    holds: str
    smaller: tuple[str, str]


class _Job:
    """What an actor works at."""

    def __init__(self, work: tuple[object, ...], begins_with: str) -> None:
        self.work, self.begins_with = work, begins_with
        self.actor: Any = None
        self.answer: Any = None
        self.tries = 0


class RayPool:
    """Sends jobs to actors, each to the one that has the least to do, and again when an actor is lost.

    An actor that is lost is replaced as soon as the cluster has room; meanwhile the others continue. Jobs must give the
    same wherever and however often they are done.

    Args:
        ray: The module, connected to a cluster.
        engine: How many actors, and what each takes.
        work: What they hold and do.

    Raises:
        EngineError: When the cluster has no room for an actor, or none starts.
    """

    def __init__(self, ray: Any, engine: RayEngine, work: Work) -> None:  # noqa: ANN401 - a module
        self._ray, self._engine, self._work = ray, engine, work
        self._lost = losses(ray)
        arguments = ray.put(work.arguments)
        remote = ray.remote(work.actor).options(
            num_cpus=engine.cpus, num_gpus=engine.gpus, max_concurrency=work.at_once, max_restarts=0
        )
        self._make: Callable[[], Any] = lambda: remote.remote(arguments)
        self._actors: list[Any] = []
        self._starting: dict[Any, Any] = {}
        self._lost_while_starting = 0
        self._jobs: list[_Job] = []
        self._count = number_of_actors(engine, ray.cluster_resources())
        for _ in range(self._count):
            self._start_actor()
        self._await_actor()

    @property
    def ahead(self) -> int:
        """How many jobs may be begun before the first of them is asked for."""
        return JOBS_EACH * self._count

    def begin(self, work: tuple[object, ...], begins_with: str) -> Callable[[], Any]:
        """Send a job to an actor; what is returned waits for its answer.

        Args:
            work: Arguments of the method.
            begins_with: What names the job in errors.
        """
        job = _Job(work, begins_with)
        self._jobs.append(job)
        self._send(job)
        return lambda: self._finish(job)

    def map(
        self, keys: Iterable[Key], work_of: Callable[[Key], tuple[tuple[object, ...], str]]
    ) -> Iterator[tuple[Key, Any]]:
        """Give each key with its answer, in their order; few more are read than actors work at.

        Args:
            keys: What jobs are for.
            work_of: Gives what `begin` takes of a key.
        """
        waiting: deque[tuple[Key, Callable[[], Any]]] = deque()
        for key in keys:
            waiting.append((key, self.begin(*work_of(key))))
            if len(waiting) >= self.ahead:
                first, answer = waiting.popleft()
                yield first, answer()
        for first, answer in waiting:
            yield first, answer()

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
                answer_of(self._ray, reference)
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
                f"{MAX_TRIES} actors of Ray were lost one after the other while they loaded {self._work.holds}: "
                f"is there memory enough for it? ({first_line(error)})"
            ) from error

    def _await_actor(self) -> None:
        engine, end = self._engine, monotonic() + self._engine.start_seconds
        while not self._actors:
            if monotonic() > end:
                raise EngineError(
                    f"no actor of Ray was ready within {engine.start_seconds:g} s: each needs {engine.cpus:g} CPU and "
                    f"{engine.gpus:g} GPU; what the cluster has free is {self._ray.available_resources()}"
                )
            self._admit(1.0)

    def _send(self, job: _Job) -> None:
        self._admit(0)
        self._await_actor()
        answers = [other.answer for other in self._jobs if other.answer is not None]
        busy = set(self._ray.wait(answers, num_returns=len(answers), timeout=0)[1] if answers else ())
        load = Counter(other.actor for other in self._jobs if other.answer in busy)
        job.actor = min(self._actors, key=lambda actor: load[actor])
        job.answer = getattr(job.actor, self._work.method).remote(*job.work)

    def _finish(self, job: _Job) -> Any:  # noqa: ANN401 - what the method gives
        while True:
            try:
                answer = answer_of(self._ray, job.answer)
            except self._lost as error:
                self._send_again(job, error)
            else:
                self._jobs.remove(job)
                return answer

    def _send_again(self, job: _Job, error: Exception) -> None:
        """Replace an actor that is lost, and give another one what it had to do."""
        job.tries += 1
        if job.tries == MAX_TRIES:
            in_python, in_words = self._work.smaller
            raise EngineError(
                f"{MAX_TRIES} actors of Ray were lost at the same batch, which begins with {job.begins_with} "
                f"({first_line(error)}): is there memory enough for {self._work.holds} and a batch?",
                python=f"{in_python}, or raise cpus so that a node has fewer actors",
                cli=f"{in_words}, or raise --actor-cpus so that a node has fewer actors",
            ) from error
        if job.actor in self._actors and not isinstance(error, self._ray.exceptions.ObjectLostError):
            self._actors.remove(job.actor)
            self._ray.kill(job.actor)  # one that only cannot be reached does not come back beside the new one
            self._start_actor()
        job.actor = job.answer = None
        self._send(job)


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
