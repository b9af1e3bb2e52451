"""Building an index over more vectors than memory holds: trained once on a sample, written shard by shard.

Vectors arrive in blocks and are read twice: once to draw the sample, once to index them. In memory are at any time one
block, one shard, and the sample while it is trained on.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np

from indexing.arrays import Mask, Vectors, check_vectors
from indexing.errors import InputError
from indexing.filesystem import fsops
from indexing.index.backends.faiss_base import faiss_bytes, random_rotation, with_rotation, write_faiss
from indexing.index.backends.gpu_lists import ListFiller, require_faiss_gpu
from indexing.index.backends.ivf import LISTS_PER_SQRT, MAX_TRAINING_ROWS, POINTS_PER_LIST, IvfIndex
from indexing.index.backends.sharded import ShardedIndex, clear, shard_path
from indexing.index.config import IndexConfig, SearchParams, parse_bytes
from indexing.runtime.device import CPU

Blocks = Callable[[], Iterable[Vectors]]
"""Gives (rows, D) float32 blocks from the first row on, each time that it is called."""

# Shares of the memory. The sample exists three times while it is trained on, a block four times while it is coded.
SAMPLE_SHARE, SHARD_SHARE, BLOCK_SHARE = 1 / 4, 1 / 2, 1 / 32
MIN_ROWS = 2_000
DEFAULT_MEMORY = "2G"
# Finds .95 of the best ten for text queries among 25,000 to 200,000 vectors (scripts/benchmarks/index/sharded.py).
DEFAULT_EFFORT = SearchParams(lists=128, candidates=200)
# Codes of a byte have 16 times the centroids of half a byte: trained as FAISS does they would take most of a build.
MAX_BYTE_CODE_POINTS, BYTE_CODE_ROUNDS = 64, 10
MIN_BYTE_CODE_ROWS = 39 * 256  # below which FAISS warns that a code of one byte is trained on too few


@dataclass(frozen=True)
class Plan:
    """How a build keeps to its memory.

    Attributes:
        sample: How many vectors are trained on.
        shard: How many rows a shard holds.
        block: How many rows are coded at once.
        entry: Bytes that a row takes in a shard.
    """

    sample: int
    shard: int
    block: int
    entry: int

    @classmethod
    def within(cls, memory: int, dim: int, *, on_disk: bool = False) -> "Plan":
        """Plan for vectors of length D = ``dim`` and so many bytes of memory.

        Raises:
            InputError: When that is too little for any index.
        """
        even_dim = dim + dim % 2
        entry = 2 * even_dim + 8 + (_code_size(even_dim) if on_disk else even_dim // 4)
        plan = cls(
            sample=min(MAX_TRAINING_ROWS, int(memory * SAMPLE_SHARE / (4 * even_dim))),
            shard=int(memory * SHARD_SHARE / entry),
            block=max(1, int(memory * BLOCK_SHARE / (4 * even_dim))),
            entry=entry,
        )
        if min(plan.sample, plan.shard) < MIN_ROWS:
            needed = int(MIN_ROWS * max(4 * even_dim / SAMPLE_SHARE, entry / SHARD_SHARE)) + 1
            raise InputError(
                f"max_memory of {memory} bytes is too little for vectors of length {dim}; give {(needed >> 20) + 1}M"
            )
        return plan


class TrainedCodes(NamedTuple):
    """An index without vectors, as bytes, and the rotation that it applies (E, D).

    Vectors are assigned to its lists on the device that it was trained on.
    """

    empty: bytes
    rotation: Vectors
    device: str


def build_sharded(
    blocks: Blocks,
    path: Path,
    *,
    max_memory: int | str = DEFAULT_MEMORY,
    on_disk: bool = False,
    seed: int = 0,
    device: str = CPU,
) -> ShardedIndex:
    """Index vectors that need not fit in memory, into files beside ``path``, and open them memory-mapped.

    The effort is one that sufficed elsewhere: measure (`exact_search` gives the truth), then `with_effort` and
    `save_contents`.

    Args:
        blocks: Gives the vectors, twice. Blocks should be small against ``max_memory``.
        path: As for `ShardedIndex.load`.
        max_memory: What the build may take beyond what the process has and a block that is given: bytes, or as
            ``"2G"``. The less, the more shards, each of which costs a search some time.
        on_disk: Leave the codes in the file as well, for machines whose memory cannot hold a quarter of a byte a
            dimension and row: codes are then of 8 bits for 4 dimensions, and the lists that a search scans are
            brought in by the operating system. A search takes two to three times as long.
        seed: Of the rotation and the sample.
        device: Where lists are trained, and vectors assigned to them.

    Raises:
        InputError: When there are too few vectors, or too little memory.
        DeviceError: For a GPU that FAISS does not see.
        ShapeError: When blocks differ in dimension.
        VectorError: When a block holds NaN, infinity or a line of zeros.
    """
    layout, trained = train_shards(blocks, max_memory=max_memory, on_disk=on_disk, seed=seed, device=device)
    clear(path)
    _write_shards(blocks, path, trained, layout)
    return open_built(path, layout.num_shards)


class Layout(NamedTuple):
    """How N vectors are cut into shards, and these into blocks that are coded at once."""

    size: int
    rows_per_shard: int
    block: int

    @property
    def num_shards(self) -> int:
        """How many shards there are."""
        return -(-self.size // self.rows_per_shard)


def train_shards(
    blocks: Blocks, *, max_memory: int | str, on_disk: bool, seed: int = 0, device: str = CPU
) -> tuple[Layout, TrainedCodes]:
    """Train on a sample of vectors what all shards share, and say how many shards there are; see `build_sharded`."""
    require_faiss_gpu(device)  # before anything is read
    rng = np.random.default_rng(seed)
    sample, size, plan = _sample(blocks, parse_bytes(max_memory), on_disk, rng)
    shards = -(-size // plan.shard)
    layout = Layout(size, -(-size // shards), plan.block)
    return layout, _train(sample, lists_for(len(sample), layout.rows_per_shard), on_disk, rng, device)


def open_built(path: Path, shards: int) -> ShardedIndex:
    """Open so many shards that were written beside a path, and write there what they are."""
    index = ShardedIndex([IvfIndex.load(shard_path(path, number)) for number in range(shards)])
    index.with_effort(DEFAULT_EFFORT).save_contents(path)
    return index


def update_sharded(
    index: ShardedIndex, before: Path, kept: Mask, added: Vectors, path: Path, config: IndexConfig
) -> ShardedIndex:
    """Write an index again beside ``path`` with the rows that are kept and other ones after them, trained as it is.

    A shard of which every row stays stays the same file. What is added goes into the last shard as long as there is
    room, then into new ones. One shard at a time is in memory.

    Args:
        index: The index.
        before: Where it is.
        kept: (N,) bool; the rows are numbered anew, in their order.
        added: (M, D) float32.
        path: As for `ShardedIndex.load`; the vectors of a shard are gathered in a file beside it.
        config: How much memory a shard may take, and where its codes are.
    """
    most = Plan.within(parse_bytes(config.max_memory or DEFAULT_MEMORY), index.dim, on_disk=config.on_disk).shard
    shards = [shard for shard in index.shards if isinstance(shard, IvfIndex)]
    masks = np.split(kept, np.cumsum([len(shard) for shard in shards])[:-1])
    clear(path)
    count = 0
    for number, (shard, mask) in enumerate(zip(shards, masks, strict=True)):
        more = added[: max(0, most - np.count_nonzero(mask))] if number == len(shards) - 1 else added[:0]
        added = added[len(more) :]
        if mask.all() and not len(more):
            fsops.link_or_copy(shard_path(before, number), shard_path(path, count))
        elif mask.any() or len(more):
            _write_updated(shard, mask, more, path, count)
        else:
            continue
        count += 1
    for start in range(0, len(added), most):
        _write_updated(shards[-1], np.zeros(len(shards[-1]), np.bool_), added[start : start + most], path, count)
        count += 1
    updated = ShardedIndex([IvfIndex.load(shard_path(path, number)) for number in range(count)])
    updated.with_efforts(index.efforts).save_contents(path)
    return updated


def _write_updated(shard: IvfIndex, kept: Mask, added: Vectors, path: Path, number: int) -> None:
    shard.updated(kept, added, path.with_name(f"{path.name}.vectors")).save(shard_path(path, number))


def lists_for(sample: int, rows: int) -> int:
    """How many lists a shard of so many rows has, when so many vectors are trained on."""
    return max(1, min(int(LISTS_PER_SQRT * rows**0.5), sample // POINTS_PER_LIST))


def _write_shards(blocks: Blocks, path: Path, trained: TrainedCodes, layout: Layout) -> None:
    """Write a file for every shard."""
    size, rows_per_shard, block_rows = layout
    shard: GrowingShard | None = None
    done = 0
    for block in split_at_shards(blocks(), block_rows, rows_per_shard):
        if shard is None:
            shard = GrowingShard(trained, min(rows_per_shard, size - done))
        shard.add(block)
        done += len(block)
        if shard.free_rows == 0:
            write_faiss(shard.finished(), shard_path(path, (done - 1) // rows_per_shard))
            shard = None
    if done != size:
        raise InputError(f"there were {size} vectors at first, then {done}; give the same each time")


def _sample(blocks: Blocks, memory: int, on_disk: bool, rng: np.random.Generator) -> tuple[Vectors, int, Plan]:
    """Read all blocks, and give a uniform sample (algorithm R), how many vectors there are, and the plan."""
    size, sample, plan = 0, np.empty((0, 0), np.float32), None
    for block in blocks():
        if plan is None:
            plan = Plan.within(memory, block.shape[1], on_disk=on_disk)
            sample = np.empty((plan.sample, block.shape[1]), np.float32)
        for start in range(0, len(block), plan.block):
            part = check_vectors(block[start : start + plan.block], sample.shape[1])
            positions = np.arange(size, size + len(part))
            slots = np.where(positions < len(sample), positions, rng.integers(0, positions + 1))
            in_sample = slots < len(sample)
            sample[slots[in_sample]] = part[in_sample]
            size += len(part)
    fewest = MIN_BYTE_CODE_ROWS if on_disk else POINTS_PER_LIST
    if plan is None or size < fewest:
        raise InputError(f"{size} vectors are too few for lists in shards, which take {fewest}; build kind 'flat'")
    return sample[:size], size, plan


def split_at_shards(blocks: Iterable[Vectors], max_rows: int, rows_per_shard: int) -> Iterator[Vectors]:
    """Cut blocks into pieces of at most so many rows, of which none crosses from one shard into the next."""
    position = 0
    for block in blocks:
        start = 0
        while start < len(block):
            part = block[start : start + min(max_rows, rows_per_shard - position % rows_per_shard)]
            yield check_vectors(part)
            start, position = start + len(part), position + len(part)


def _code_size(dim: int) -> int:
    """Codes of a byte: the largest number of them that divides the dimension and is at most a quarter of it."""
    return max(size for size in range(1, max(1, dim // 4) + 1) if dim % size == 0)


def _train(sample: Vectors, lists: int, on_disk: bool, rng: np.random.Generator, device: str) -> TrainedCodes:
    """Train lists and codes on a sample (S, D), as `IvfIndex.build` does on all."""
    dim = sample.shape[1]
    rotation = random_rotation(dim, rng)
    even_dim = len(rotation)
    rotated = sample @ rotation.T
    quantizer, metric = faiss.IndexFlatIP(even_dim), faiss.METRIC_INNER_PRODUCT
    if on_disk:  # lists as arrays, which FAISS can leave in the file; those of fast scan it cannot
        codes = faiss.IndexIVFPQ(quantizer, even_dim, lists, _code_size(even_dim), 8, metric)
        codes.pq.cp.max_points_per_centroid, codes.pq.cp.niter = MAX_BYTE_CODE_POINTS, BYTE_CODE_ROUNDS
    else:
        codes = faiss.IndexIVFPQFastScan(quantizer, even_dim, lists, even_dim // 2, 4, metric)
    ListFiller(codes, device).train(rotated)
    exact = faiss.IndexScalarQuantizer(even_dim, faiss.ScalarQuantizer.QT_fp16, metric)
    exact.train(rotated[:1])
    refined = faiss.IndexRefine(codes, exact)
    return TrainedCodes(faiss_bytes(with_rotation(rotation, refined)), rotation, device)


class GrowingShard:
    """A shard that is being filled, of so many rows.

    Half-precision vectors are written where they will lie: a vector of FAISS that grows would exist three times.
    """

    def __init__(self, trained: TrainedCodes, rows: int) -> None:
        self._trained, self.free_rows = trained, rows
        self._index = faiss.deserialize_index(np.frombuffer(trained.empty, np.uint8))
        self._refined = faiss.downcast_index(self._index.index)
        self._filler = ListFiller(faiss.downcast_index(self._refined.base_index), trained.device)
        self._exact = faiss.downcast_index(self._refined.refine_index)
        size = self._exact.code_size
        self._exact.codes.resize(rows * size)
        code_bytes = faiss.rev_swig_ptr(self._exact.codes.data(), rows * size)
        self._halves = code_bytes.view(np.float16).reshape(rows, size // 2)

    def add(self, vectors: Vectors) -> None:
        """Add (rows, D) vectors, for which there must be room."""
        if len(vectors) > self.free_rows:
            raise InputError("the blocks gave more vectors than at first; give the same each time")
        rotated = vectors @ self._trained.rotation.T
        start = len(self._halves) - self.free_rows
        self._halves[start : start + len(vectors)] = rotated
        self._filler.add(rotated)
        self.free_rows -= len(vectors)

    def finished(self) -> Any:  # noqa: ANN401 - FAISS ships no types
        """Return the FAISS index, once there is no room left."""
        self._exact.ntotal = self._refined.ntotal = self._index.ntotal = len(self._halves)
        return self._index
