"""The families of indexes that are tried, and the short list for a catalogue of some size."""

from dataclasses import dataclass, replace
from typing import Literal, assert_never

from indexing.arrays import Vectors
from indexing.errors import InputError
from indexing.index.base import TunableIndex
from indexing.index.config import IndexConfig
from indexing.runtime.device import CPU

# So many vectors are scanned: exactly, or by codes that find nearly all. Inverted lists are for more.
FLAT_UP_TO = 50_000
# A scan of codes is faster from so many numbers on, and then must find so much: who has few items expects all of them.
CODES_FROM, CODES_RECALL = 4_000_000, 0.99
# A search of LanceDB takes some milliseconds, in which as few vectors as these are read and scored.
LANCE_LISTS_FROM = 2_000

# Bits a dimension.
_BITS = {"fp32": 32, "fp16": 16, "sq8": 8, "pq4": 2, "pq8": 2, "rq2": 2, None: 0}
# Bytes an entry beside its code: an id; rows that fill a block of 32.
_ID, _PADDING = 8, 16
_FACTORS = 16  # of a code of RaBitQ, by which its estimate is corrected


@dataclass(frozen=True)
class Family:
    """A type of index with its codec.

    Attributes:
        kind: ``"flat"``, ``"hnsw"``, ``"ivf"``, ``"sharded"`` or ``"lancedb"``.
        codec: The format of the vectors that are searched: ``"fp32"``, ``"fp16"``, ``"sq8"``, ``"pq4"``, ``"pq8"`` or
            ``"rq2"``.
        refine: What the best are scored on anew, or None.
    """

    kind: Literal["flat", "hnsw", "ivf", "sharded", "lancedb"]
    codec: Literal["fp32", "fp16", "sq8", "pq4", "pq8", "rq2"]
    refine: Literal["fp32", "fp16", "sq8"] | None = None

    @property
    def name(self) -> str:
        """Its name: ``"flat fp32"``, ``"ivf pq4 + fp16"``."""
        return f"{self.kind} {self.codec}" + (f" + {self.refine}" if self.refine else "")

    @property
    def exact(self) -> bool:
        """Whether it finds all there is, whatever it is asked."""
        return self.kind in ("flat", "lancedb") and self.codec == "fp32"

    def build(self, vectors: Vectors, m: int, device: str = CPU) -> TunableIndex:
        """Index (N, D) vectors in memory; a graph has ``m`` edges a node. Others have builders of their own.

        Inverted lists are trained and filled on the device.
        """
        from indexing.index.backends.faiss import FaissIndex  # FAISS is loaded only by those who build or search
        from indexing.index.backends.ivf import IvfIndex

        match self.kind, self.codec:
            case "flat", "pq4" if self.refine:
                return IvfIndex.scan(vectors, self.refine)
            case "flat", ("fp32" | "fp16" | "sq8") as scalar:
                return FaissIndex.flat(vectors, scalar)
            case "hnsw", ("fp32" | "fp16" | "sq8") as scalar:
                return FaissIndex.hnsw(vectors, m, codec=scalar)
            case "ivf", ("pq4" | "sq8") as codec:
                return IvfIndex.build(vectors, codec=codec, refine=self.refine, device=device)
        raise InputError(f"there is no index {self.name!r}")

    def estimated_bytes(self, size: int, dim: int, m: int) -> int:
        """Return the bytes of memory that an index of so many vectors will take, to a few percent."""
        code, refined = -(-_BITS[self.codec] * dim // 8), -(-_BITS[self.refine] * dim // 8)
        match self.kind:
            case "flat":
                one_list = self.refine is not None
                return size * (code + refined + _ID * one_list) + one_list * (_PADDING * code + 4 * dim * (1 + dim))
            case "hnsw":
                return size * (code + refined + 4 * (2 * m + 1) + 4 + 8)
            case "ivf":
                lists = _list_count(size)
                padding = lists * _PADDING * code if self.codec == "pq4" else 0
                id_bytes = _ID if self.refine else 2 * _ID
                return size * (code + id_bytes + refined) + padding + 4 * dim * (lists + dim)
            case "sharded":  # finer vectors stay in the files
                return size * (code + _ID) if self.codec == "pq4" else 0
            case "lancedb":  # vectors stay in the table
                return size * (code + _ID + _FACTORS) if self.refine else 0
            case _:
                assert_never(self.kind)


FLAT, FLAT_HALF, FLAT_BYTE = Family("flat", "fp32"), Family("flat", "fp16"), Family("flat", "sq8")
GRAPH, GRAPH_BYTE = Family("hnsw", "fp32"), Family("hnsw", "sq8", "fp16")
LISTS_PQ, LISTS_PQ_BYTE, LISTS_BYTE = Family("ivf", "pq4", "fp16"), Family("ivf", "pq4", "sq8"), Family("ivf", "sq8")

SHARDED, SHARDED_ON_DISK = Family("sharded", "pq4", "fp16"), Family("sharded", "pq8", "fp16")
LANCE, LANCE_LISTS = Family("lancedb", "fp32"), Family("lancedb", "rq2", "fp32")

CODES, CODES_HALF = Family("flat", "pq4", "fp32"), Family("flat", "pq4", "fp16")

SCANS = (CODES, CODES_HALF)
FLATS = (FLAT, FLAT_HALF, FLAT_BYTE)
GRAPHS = (GRAPH, GRAPH_BYTE)
LISTS = (LISTS_PQ, LISTS_PQ_BYTE, LISTS_BYTE)
EVERY = (*LISTS, *SCANS, *FLATS, *GRAPHS)
SMALL = (FLAT, FLAT_HALF, LISTS_PQ, LISTS_PQ_BYTE, FLAT_BYTE, GRAPH)
LARGE = (LISTS_PQ, LISTS_PQ_BYTE, LISTS_BYTE, *FLATS, *GRAPHS)


def _families_of(config: IndexConfig, size: int, dim: int) -> tuple[Family, ...]:
    match config.kind:
        case "auto":
            if size > FLAT_UP_TO:
                return LARGE
            return (*SCANS, *SMALL) if size * dim >= CODES_FROM else SMALL
        case "best":
            return EVERY
        case "flat":
            return FLATS
        case "hnsw":
            return GRAPHS
        case "ivf":
            return LISTS
        case "sharded":
            return (SHARDED_ON_DISK if config.on_disk else SHARDED,)
        case "lancedb":
            return (LANCE if size < LANCE_LISTS_FROM else LANCE_LISTS,)
        case _:
            assert_never(config.kind)


def _list_count(size: int) -> int:
    from indexing.index.backends.ivf import list_count  # FAISS is loaded only by those who build

    return list_count(size)


def shortlist(config: IndexConfig, size: int, dim: int) -> list[Family]:
    """Return the families to try for N vectors of length D, in order.

    What would not fit the memory goal is left out, and so is what only saves memory where its finer form fits: of flat
    indexes and of graphs the finest is tried, of codes the finest refinement of each. When nothing fits, the smallest
    is tried.
    """
    families = [family for family in _families_of(config, size, dim) if family.kind != "ivf" or _list_count(size)]
    families = families or list(_families_of(config, size, dim))  # which says why it cannot be built
    bytes_of = {family: family.estimated_bytes(size, dim, config.m) for family in families}
    fitting = [family for family in families if bytes_of[family] <= config.memory]
    fitting = fitting or [min(families, key=lambda family: bytes_of[family])]
    if config.kind == "best":
        return fitting
    finest: dict[tuple[str, str], Family] = {}
    for family in fitting:
        by_codec = family.kind == "ivf" or family in SCANS
        finest.setdefault((family.kind, family.codec if by_codec else ""), family)
    return list(finest.values())


def goals_of(config: IndexConfig, family: Family) -> IndexConfig:
    """Return what a family must achieve: a scan of codes where ``auto`` would search exactly must find nearly all."""
    if config.kind == "auto" and family in SCANS:
        return replace(config, min_recall=max(config.min_recall, CODES_RECALL))
    return config
