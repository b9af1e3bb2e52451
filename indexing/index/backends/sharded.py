"""One index in several files: each holds a run of rows, each is searched, and the best of all are merged exactly.

PATH          what the shards are, as JSON
PATH.0000 …   one FAISS file each, memory-mapped when it is opened
"""

import glob
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from indexing.arrays import Mask, Rows, Vectors
from indexing.errors import DamagedFileError, InputError, ShapeError
from indexing.filesystem import fsops
from indexing.index.backends.faiss import FaissIndex
from indexing.index.backends.ivf import IvfIndex
from indexing.index.base import VectorIndex, check_search, merged, no_answers, padded
from indexing.index.config import SearchParams, SearchParamsByKind

KIND = "faiss-sharded"
MAX_SHARDS = 10_000
SHARD_KINDS: dict[str, type[FaissIndex] | type[IvfIndex]] = {
    "faiss-flat": FaissIndex,
    "faiss-hnsw": FaissIndex,
    "faiss-ivf": IvfIndex,
}


class ShardedIndex:
    """Shards behind the `VectorIndex` protocol: ``faiss-sharded``. Shard 0 has the first rows, shard 1 the next.

    Args:
        shards: At least one, all of one dimension.

    Raises:
        InputError: When there is none, or one cannot be a shard.
        ShapeError: When their dimensions differ.
    """

    kind = KIND

    def __init__(self, shards: Sequence[VectorIndex]) -> None:
        if not shards or any(shard.kind not in SHARD_KINDS for shard in shards):
            raise InputError(f"shards are {[shard.kind for shard in shards][:3]}, expected some of {list(SHARD_KINDS)}")
        if len({shard.dim for shard in shards}) > 1:
            raise ShapeError(f"shards have dimensions {sorted({shard.dim for shard in shards})}, expected one")
        self.shards = tuple(shards)
        self._starts = tuple(accumulate((len(shard) for shard in shards), initial=0))

    @property
    def dim(self) -> int:
        """Length D of the vectors."""
        return self.shards[0].dim

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def vectors(self) -> Vectors:
        """A copy of the vectors, all in memory: (N, D) float32."""
        return np.concatenate([shard.vectors for shard in self.shards if isinstance(shard, FaissIndex | IvfIndex)])

    @property
    def lists(self) -> int:
        """How many inverted lists the shard with most has; 0 where none has lists."""
        return max((shard.lists for shard in self._ivf_shards), default=0)

    @property
    def refined(self) -> bool:
        """Whether the best codes of a shard are scored anew on finer vectors."""
        return any(shard.refined for shard in self._ivf_shards)

    @property
    def code_cost(self) -> float:
        """What a code that is scanned costs, where one is a vector that is scored."""
        return max((shard.code_cost for shard in self._ivf_shards), default=1.0)

    @property
    def nbytes(self) -> int:
        """Bytes that it keeps in memory once it was opened; vectors, and codes on disk, stay in the files."""
        return sum(shard.unmapped_bytes for shard in self._ivf_shards)

    @property
    def efforts(self) -> SearchParamsByKind:
        """How hard each shard tries."""
        return next((shard.efforts for shard in self._ivf_shards), SearchParamsByKind())

    @property
    def effort(self) -> SearchParams | None:
        """How hard each shard tries for a kind of query that it was not tuned for; None without inverted lists."""
        return self.efforts.greatest if self._ivf_shards else None

    @property
    def _ivf_shards(self) -> list[IvfIndex]:
        return [shard for shard in self.shards if isinstance(shard, IvfIndex)]

    def with_efforts(self, efforts: SearchParamsByKind) -> "ShardedIndex":
        """Return the same index with other efforts in each shard; those without inverted lists stay as they are."""
        return ShardedIndex(
            [
                shard.with_efforts(capped_efforts(efforts, shard)) if isinstance(shard, IvfIndex) else shard
                for shard in self.shards
            ]
        )

    def with_effort(self, effort: SearchParams) -> "ShardedIndex":
        """Return the same index that tries so hard in each shard for every kind of query."""
        return self.with_efforts(SearchParamsByKind(default=effort))

    def keep_greatest(self) -> None:
        """Note the greatest effort in each shard, for those who open its file with FAISS itself; before it is saved."""
        for shard in self.shards:
            if isinstance(shard, FaissIndex | IvfIndex):
                shard.keep_greatest()

    def search(
        self, queries: Vectors, k: int, allow: Mask | None = None, kind: str | None = None
    ) -> tuple[Vectors, Rows]:
        """Find the best k rows for each query; see `VectorIndex.search`."""
        queries, k = check_search(self, queries, k, allow), int(k)
        answers = no_answers(len(queries))
        for shard, start in zip(self.shards, self._starts[:-1], strict=True):
            shard_allow = None if allow is None else allow[start : start + len(shard)]
            if shard_allow is None or shard_allow.any():
                scores, rows = shard.search(queries, min(k, len(shard)), shard_allow, kind)
                answers = merged(answers, (scores, np.where(rows >= 0, rows + start, -1)), k)
        return padded(*answers, k)

    def save(self, path: Path) -> str:
        """Write the shards beside a path, then their description at the path; return the sha256 of the latter."""
        clear(path)
        for number, shard in enumerate(self.shards):
            shard.save(shard_path(path, number))
        return self.save_contents(path)

    def save_contents(self, path: Path) -> str:
        """Write what the shards beside a path are, and the effort, which may have changed since they were written."""
        records = [
            {"kind": shard.kind, "rows": len(shard), "size": shard_path(path, number).stat().st_size}
            for number, shard in enumerate(self.shards)
        ]
        contents = {"shards": records, "effort": asdict(self.effort) if self.effort else None}
        data = json.dumps(contents, indent=1).encode()
        return fsops.write_stream(path, lambda write: write(data))

    @classmethod
    def load(cls, path: Path) -> "ShardedIndex":
        """Open what `save` wrote, memory-mapped: see `read_faiss` for what the caller owes.

        Raises:
            DamagedFileError: When a file is missing or is not what it should be.
        """
        records, effort = _read_contents(path)
        index = cls([_load_shard(shard_path(path, number), record) for number, record in enumerate(records)])
        return index.with_effort(effort) if effort else index


def capped_efforts(efforts: SearchParamsByKind, shard: IvfIndex) -> SearchParamsByKind:
    """Return efforts that ask for no more lists than a shard has."""

    def capped(effort: SearchParams) -> SearchParams:
        return replace(effort, lists=min(effort.lists, shard.lists))

    return SearchParamsByKind({kind: capped(effort) for kind, effort in efforts.kinds.items()}, capped(efforts.default))


def shard_path(path: Path, number: int) -> Path:
    """Where a shard of the index at ``path`` is."""
    return path.with_name(f"{path.name}.{number:04d}")


def clear(path: Path) -> None:
    """Remove the index at ``path`` before another is written there, first what would make a whole of a mixture."""
    fsops.remove(path)
    if path.parent.exists():
        fsops.fsync_folder(path.parent)
    for file in sorted(path.parent.glob(f"{glob.escape(path.name)}.[0-9][0-9][0-9][0-9]")):
        fsops.remove(file)


def shard_files(path: Path) -> list[Path]:
    """Return the files of the shards of the index at ``path``, in order of their rows."""
    return [shard_path(path, number) for number in range(len(_read_contents(path)[0]))]


def _read_contents(path: Path) -> tuple[list[dict[str, Any]], SearchParams | None]:
    try:
        data = json.loads(path.read_bytes())
        effort = (
            None
            if data["effort"] is None
            else SearchParams(int(data["effort"]["lists"]), int(data["effort"]["candidates"]))
        )
        records = [
            {"kind": str(shard["kind"]), "rows": int(shard["rows"]), "size": int(shard["size"])}
            for shard in data["shards"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{path} does not say what shards there are: {error}; build the index again") from error
    if not 0 < len(records) <= MAX_SHARDS or any(record["kind"] not in SHARD_KINDS for record in records):
        raise DamagedFileError(f"{path} names {len(records)} shards or kinds unknown here; build the index again")
    return records, effort


def _load_shard(path: Path, record: dict[str, Any]) -> VectorIndex:
    size = path.stat().st_size if path.exists() else None
    if size != record["size"]:
        raise DamagedFileError(f"{path} has {size} bytes, expected {record['size']}; build the index again")
    shard = SHARD_KINDS[record["kind"]].load(path)
    if (shard.kind, len(shard)) != (record["kind"], record["rows"]):
        raise DamagedFileError(
            f"{path} is {shard.kind} with {len(shard)} rows, expected {record['kind']} with {record['rows']}; "
            "build the index again"
        )
    return shard
