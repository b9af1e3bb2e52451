"""Choose an index by its goals, and measure that it reaches them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from indexing.arrays import Vectors, check_vectors
from indexing.errors import DamagedFileError, InputError
from indexing.index.backends.flat import FlatIndex
from indexing.index.base import TunableIndex, VectorIndex
from indexing.index.config import WITH_LISTS, IndexConfig, IndexKind, SearchParamsByKind, parse_bytes
from indexing.index.tuning.families import goals_of, shortlist
from indexing.index.tuning.recall import HeldOutQueries, ground_truths
from indexing.index.tuning.trial import Trial, rank_trials, run_trial
from indexing.runtime.device import CPU, check_device

__all__ = ["IndexConfig", "IndexKind", "IndexReport", "build_index", "load_index"]


@dataclass(frozen=True)
class IndexReport:
    """The index that was built, and its measured recall and speed.

    Attributes:
        kind: Kind of the index, as in `VectorIndex.kind`.
        family: What it keeps and how: ``"ivf pq4 + fp16"``.
        recall: Measured recall@k for each kind of query, against exact search, on queries that did not choose the
            effort.
        recall_bound: What the recall of each kind is at least, with a confidence of 97.5 %: what is compared with the
            goal.
        target_met: Whether every goal is met.
        unmet: Which are not, in words.
        k: Depth of the measurement.
        efforts: For each kind of query how hard a search tries: ``ef_search`` of a graph; ``lists`` and
            ``candidates`` of inverted lists.
        bytes: Memory that the index takes when it is loaded.
        build_seconds: Time of the whole build, with tuning and the families that were not chosen.
        tried: What was measured of each family that was built, see `Trial.to_json`.
    """

    kind: str
    family: str
    recall: Mapping[str, float]
    recall_bound: Mapping[str, float]
    target_met: bool
    unmet: Sequence[str]
    k: int
    efforts: Mapping[str, Mapping[str, int]]
    bytes: int
    build_seconds: float
    tried: Sequence[Mapping[str, Any]] = field(default=(), repr=False)

    @classmethod
    def of(
        cls, best: Trial, config: IndexConfig, tried: Sequence[Mapping[str, Any]], build_seconds: float
    ) -> "IndexReport":
        """Report the trial that was chosen of those that were made."""
        return cls(
            kind=best.index.kind,
            family=best.family.name,
            recall=best.recall,
            recall_bound=best.recall_bound,
            target_met=not best.unmet,
            unmet=[line for lines in best.unmet.values() for line in lines],
            k=config.k,
            efforts=best.index.efforts.to_json(),
            bytes=best.index.nbytes,
            build_seconds=round(build_seconds, 3),
            tried=tried,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


def build_index(
    vectors: Vectors, config: IndexConfig, queries: HeldOutQueries, path: Path | None = None, device: str = CPU
) -> tuple[VectorIndex, IndexReport]:
    """Index (N, D) vectors so that every kind of query reaches the required recall, within memory and latency goals.

    Args:
        vectors: (N, D) float32.
        config: The goals.
        queries: For each kind of query (``"text"``, ``"image"``, …) some (B, D) held-out ones, or `Queries` that say
            which rows they are themselves.
        path: Where an index in shards, or in a table of LanceDB, is written while it is built; the other kinds are
            written by `VectorIndex.save`.
        device: Where inverted lists are trained, and vectors assigned to them: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
            Everything else is computed on the CPU, and the index is searched there.

    Returns:
        The index and what was measured. The first family of the short list that meets every goal is taken, with
        ``kind="best"`` the fastest of all families. When none does, the nearest is given with ``target_met=False`` and
        what it misses in ``unmet``. Without any queries ``"auto"`` searches exactly.

    Raises:
        InputError: When nothing of the kind is built on a GPU.
        DeviceError: For a GPU that FAISS does not see.
    """
    started = perf_counter()
    require_device(config.kind, device)
    if config.kind != "sharded":  # whose build looks at one block after the other
        vectors = check_vectors(vectors)
    ground_truth = ground_truths(vectors, queries, config.k, config.sample)
    # Without queries no recall can be promised but that of exact search.
    goals = config if ground_truth or config.kind != "auto" else replace(config, kind="flat")
    contenders: list[Trial] = []
    trials: list[dict[str, Any]] = []
    for family in shortlist(goals, *vectors.shape):
        trial = run_trial(family, vectors, goals_of(config, family), ground_truth, path, device)
        trials.append(trial.to_json())
        contenders = rank_trials([*contenders, trial])  # others are freed: several may not fit
        if config.kind != "best" and not trial.unmet:
            break
    best = contenders[0]
    best.index.keep_greatest()
    report = IndexReport.of(best, config, trials, perf_counter() - started)
    return best.index, report


def require_device(kind: IndexKind, device: str) -> None:
    """Check that an index of a kind can be built on a device, and that this is there.

    Raises:
        InputError: When it is none, or nothing of the kind is built on a GPU.
        DeviceError: When FAISS does not see it.
    """
    if check_device(device) == CPU:
        return
    if kind not in WITH_LISTS:
        raise InputError(
            f"device {device!r} is for kinds {', '.join(WITH_LISTS)}, not {kind!r}, of which nothing is built on a GPU"
        )
    from indexing.index.backends.gpu_lists import require_faiss_gpu  # FAISS is loaded only by those who build

    require_faiss_gpu(device)


def require_memory(config: IndexConfig, dim: int) -> None:
    """Check that shards of vectors of length D can be built within the memory that is allowed.

    Raises:
        InputError: When they cannot.
    """
    from indexing.index.backends.build_sharded import DEFAULT_MEMORY, Plan  # FAISS is loaded only by those who build

    Plan.within(parse_bytes(config.max_memory or DEFAULT_MEMORY), dim, on_disk=config.on_disk)


def load_index(
    path: Path, kind: str, efforts: Mapping[str, Mapping[str, int]] | None = None, *, moved: Path | None = None
) -> VectorIndex:
    """Open the file of an index of a kind named in a manifest.

    Args:
        path: The file.
        kind: The type of index.
        efforts: How hard to search for each kind of query, as in `IndexReport.efforts`; without, as hard as the file
            says, which is the greatest of them.
        moved: Where the file may be moved to while the index lives.

    Raises:
        InputError: For an unknown kind.
        DamagedFileError: When the file, or the efforts, cannot be read.
    """
    match kind:
        case "flat":
            return FlatIndex.load(path)
        case "faiss-flat" | "faiss-hnsw":
            from indexing.index.backends.faiss import FaissIndex

            index: TunableIndex = FaissIndex.load(path)
        case "faiss-ivf":
            from indexing.index.backends.ivf import IvfIndex

            index = IvfIndex.load(path)
        case "faiss-sharded":
            from indexing.index.backends.sharded import ShardedIndex

            index = ShardedIndex.load(path)
        case "lancedb-flat" | "lancedb-ivf":
            from indexing.index.backends.lance import LanceIndex

            index = LanceIndex.load(path, moved)
        case _:
            raise InputError(
                f"index kind {kind!r} is unknown; this version reads flat, faiss-flat, faiss-hnsw, faiss-ivf, "
                "faiss-sharded, lancedb-flat and lancedb-ivf"
            )
    if not efforts:
        return index
    try:
        return index.with_efforts(SearchParamsByKind.from_json(efforts, index.efforts.default))
    except InputError as error:
        raise DamagedFileError(f"the efforts of {path} cannot be used: {error}; build the bundle again") from error
