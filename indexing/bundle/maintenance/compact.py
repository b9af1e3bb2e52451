"""Fold the changes since a generation into a new one, while readers read on and writers go on adding."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from indexing.arrays import Vectors
from indexing.bundle.bundle import Bundle
from indexing.bundle.change_log import require_bundle, require_newest
from indexing.bundle.current import MAX_HISTORY
from indexing.bundle.generation import CONTENT_SUM, INDEX, RECALL_CHECK, STORE, WORDS, Generation, part_of
from indexing.bundle.index_files import index_items, item_contents
from indexing.bundle.manifest import MANIFEST, Manifest
from indexing.bundle.publish import COMPACTING, Content, make_current_when_unlocked, prepare, work_folder
from indexing.bundle.word_files import word_contents, word_settings
from indexing.filesystem import fsops
from indexing.filesystem.locks import write_lock
from indexing.index.tuning.recall import HeldOutQueries
from indexing.runtime.arguments import check_path
from indexing.store.collect import SHARD_ROWS
from indexing.store.store import parquet_bytes, shard_name


class Learned(Protocol):
    """What a bundle has learned, as far as compaction must know of it."""

    def item_vectors(self, bundle: Bundle) -> Vectors:
        """Return what is indexed of every row of a bundle, also of those that are gone: (N, E) float32."""
        ...

    def queries(self, bundle: Bundle, vectors: Vectors, sample: int) -> HeldOutQueries:
        """Return held-out queries for an index over the living rows of a bundle, (N, E) float32."""
        ...

    def files(self, bundle: Bundle) -> dict[str, bytes]:
        """Return the learned files for a generation that holds the living rows of a bundle."""
        ...


def compact(root: Path | str, learned: Callable[[Bundle], Learned]) -> Bundle:
    """Write a new generation that contains every change acknowledged so far, and make it current.

    The index is built without the lock of the bundle: what is added meanwhile stays a change of the new generation.
    With nothing to fold, nothing is done.

    Args:
        root: Folder of the bundle.
        learned: Opens what a bundle has learned.

    Raises:
        BundleLockedError: When another compaction of the bundle is running.
        BundleError: When another generation became current meanwhile; that one stays.
    """
    root = check_path(root, "the folder of the bundle")
    require_bundle(root)
    with write_lock(root, name="COMPACTING", activity="compacting"):
        require_newest(root)
        for leftover in root.glob(f"{COMPACTING}-gen-*"):  # by a compaction that was killed
            fsops.remove(leftover)
        bundle, work = Bundle.open(root), work_folder(root, COMPACTING)
        if not bundle.batches:
            return bundle
        sizes = (record.size for record in bundle.manifest.files if not record.name.startswith(f"{STORE}/"))
        fsops.require_space(root, sum(sizes))
        try:
            compacts = [*bundle.manifest.compacts, bundle.state.generation][-MAX_HISTORY:]
            folder = prepare(root, *fold_changes(bundle, learned(bundle), work), COMPACTING, compacts)
        finally:
            fsops.remove(work)
        make_current_when_unlocked(root, folder, bundle.state.generation, "compaction")
    return Bundle.open(root)


@contextmanager
def folded(root: Path, learned: Callable[[Bundle], Learned], kind: str) -> Iterator[Bundle]:
    """Give a bundle with its changes folded in, and leave the bundle on disk as it is.

    Where there are changes, the files are in a folder of their own until the end of the block. A generation that is
    made of it may link to them. They have no index, as that of what is learned next is another.

    Args:
        root: Folder of the bundle.
        learned: Opens what a bundle has learned.
        kind: Begins the name of the folder; whoever makes such folders removes those of a process that was killed.

    Yields:
        A bundle without changes: its ``state`` names the generation that is current, its ``manifest`` has every change
        acknowledged so far.

    Raises:
        BundleLockedError: When a compaction of the bundle is running.
    """
    with write_lock(root, name="COMPACTING", activity="compacting"):
        require_newest(root)
        bundle = Bundle.open(root)
        folder = prepare(root, *_fold_items(bundle, learned(bundle)), kind) if bundle.batches else None
    if folder is None:
        yield bundle
        return
    state = replace(bundle.state, contains=bundle.state.last, digest="")
    del bundle  # its vectors
    try:
        yield Bundle(root, Generation(folder, Manifest.read(folder / MANIFEST)), state, ())
    finally:
        fsops.remove(folder)


def fold_changes(bundle: Bundle, learned: Learned, work: Path) -> tuple[Manifest, dict[str, Content]]:
    """Return manifest and files of a generation that holds what a bundle holds, changes included; see `index_items`."""
    manifest, files = _fold_items(bundle, learned)
    live, config = bundle.is_live, manifest.index_config()
    vectors = learned.item_vectors(bundle)[live]
    queries = learned.queries(bundle, vectors, config.sample)
    frozen, before = bundle.modality_vectors.take(live), bundle.folder / INDEX
    index_files, index_section = index_items(frozen, vectors, config, work, queries, before=before)
    return replace(manifest, index=index_section), {**files, **index_files}


def _fold_items(bundle: Bundle, learned: Learned) -> tuple[Manifest, dict[str, Content]]:
    """Return manifest and files of a generation that holds what a bundle holds, but for its index."""
    live, old = bundle.is_live, bundle.manifest
    attributes, words = bundle.attributes.filter(pa.array(live)).combine_chunks(), word_settings(bundle)
    rewritten: dict[str, Content] = {
        **item_contents(attributes, bundle.modality_vectors.take(live)),
        **(word_contents(attributes, words) if words else {}),
        **learned.files(bundle),
        **{f"{STORE}/{name}": content for name, content in _shards(bundle)},
    }
    kept = {
        record.name: bundle.folder / record.name
        for record in old.files
        if part_of(record.name) not in {*map(part_of, rewritten), INDEX, RECALL_CHECK, CONTENT_SUM, STORE, WORDS}
    }
    counts = dict(old.counts) | {
        "embeddings": {
            str(modality): int(exists[live].sum()) for modality, exists in bundle.modality_vectors.exists.items()
        },
        "changes": _count_changes(bundle),
    }
    return replace(old, items=int(live.sum()), counts=counts, batches=bundle.state.last), {**kept, **rewritten}


def _shards(bundle: Bundle) -> list[tuple[str, Content]]:
    """Return the shards of the store: those that no change touches as they are, the others without what is gone."""
    changed_ids = {item_id for batch in bundle.batches for item_id in (*batch.removed, *batch.item_ids)}
    changed = pa.array(sorted(changed_ids), pa.string())
    shards: list[tuple[str, Content]] = []
    number = -1
    for path in bundle.generation.shards:
        number = int(path.name.split("-")[0])
        ids = pq.read_table(path, columns=["item_id"]).column("item_id")
        is_changed = pc.is_in(ids, value_set=changed)
        if not pc.any(is_changed).as_py():
            shards.append((path.name, path))
        elif not pc.all(is_changed).as_py():
            data = parquet_bytes(pq.read_table(path).filter(pc.invert(is_changed)))
            shards.append((shard_name(number, data), data))
    added = _added_embeddings(bundle)
    for start in range(0, len(added), SHARD_ROWS):
        number += 1
        data = parquet_bytes(added.slice(start, SHARD_ROWS))
        shards.append((shard_name(number, data), data))
    return shards


def _added_embeddings(bundle: Bundle) -> pa.Table:
    """Return what became of each content of the items put in, the last version of each."""
    start, tables = len(bundle.generation.items), []
    for batch in bundle.batches:
        live = bundle.is_live[start : start + len(batch.item_ids)]
        live_ids = pa.array([batch.item_ids[row] for row in np.flatnonzero(live)], pa.string())
        tables.append(batch.embeddings.filter(pc.is_in(batch.embeddings.column("item_id"), value_set=live_ids)))
        start += len(batch.item_ids)
    return pa.concat_tables(tables).combine_chunks()


def _count_changes(bundle: Bundle) -> dict[str, Any]:
    """Count the changes folded in so far, over the life of the bundle."""
    totals = bundle.manifest.counts.get("changes", {"put": 0, "removed": 0})
    return {
        "put": totals["put"] + sum(len(batch.item_ids) for batch in bundle.batches),
        "removed": totals["removed"] + sum(len(batch.removed) for batch in bundle.batches),
    }
