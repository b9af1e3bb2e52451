"""Fold the changes since a generation into a new one, while readers read on and writers go on adding."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from indexing.arrays import Vectors
from indexing.bundle.bundle import Bundle
from indexing.bundle.change_log import require_bundle, require_newest
from indexing.bundle.current import MAX_HISTORY
from indexing.bundle.generation import CONTENT_SUM, INDEX, RECALL_CHECK, STORE, WORDS, Generation, part_of
from indexing.bundle.index_files import changed_content_sum, index_items, item_contents
from indexing.bundle.maintenance.changed_shards import changed_shards
from indexing.bundle.manifest import MANIFEST, Manifest
from indexing.bundle.publish import COMPACTING, Content, make_current_when_unlocked, prepare, work_folder
from indexing.bundle.word_files import word_contents, word_settings
from indexing.filesystem import fsops
from indexing.filesystem.locks import write_lock
from indexing.index.tuning.recall import HeldOutQueries
from indexing.index.tuning.reuse import IndexBefore
from indexing.runtime.arguments import check_local_path
from indexing.store.lazy_rows import selected


class Learned(Protocol):
    """What a bundle has learned, as far as compaction must know of it."""

    def item_vectors(self, bundle: Bundle) -> Vectors:
        """Return what is indexed of every row of a bundle, also of those that are gone: (N, E) float32."""
        ...

    def item_rows(self, bundle: Bundle) -> Vectors:
        """Return the same as `item_vectors`, computed when rows are read where they are many."""
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
    root = check_local_path(root, "the folder of the bundle")
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
    return Bundle.open(root, check="lazy")  # what was just written is compared before its first use


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
        bundle, work = Bundle.open(root), work_folder(root, kind)
        try:
            folder = prepare(root, *_fold_items(bundle, learned(bundle), work), kind) if bundle.batches else None
        finally:
            fsops.remove(work)
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
    manifest, files = _fold_items(bundle, learned, work)
    live, config, old = bundle.is_live, manifest.index_config(), bundle.manifest
    rows = learned.item_rows(bundle)
    vectors, content_sum = selected(rows, live), changed_content_sum(bundle, rows)
    queries = learned.queries(bundle, vectors, config.sample)
    before = IndexBefore(bundle.folder / INDEX, old.index, old.generation, live[: old.items])
    frozen = bundle.modality_vectors.selected(live)
    index_files, index_section = index_items(
        frozen, vectors, config, work, queries, before=before, content_sum=content_sum
    )
    return replace(manifest, index=index_section), {**files, **index_files}


def _fold_items(bundle: Bundle, learned: Learned, work: Path) -> tuple[Manifest, dict[str, Content]]:
    """Return manifest and files of a generation that holds what a bundle holds, but for its index."""
    live, old = bundle.is_live, bundle.manifest
    attributes, words = bundle.attributes.filter(pa.array(live)).combine_chunks(), word_settings(bundle)
    rewritten: dict[str, Content] = {
        **item_contents(attributes, bundle.modality_vectors.selected(live)),
        **(word_contents(attributes, words) if words else {}),
        **learned.files(bundle),
        **{f"{STORE}/{name}": path for name, path in changed_shards(bundle, work / STORE).items()},
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


def _count_changes(bundle: Bundle) -> dict[str, Any]:
    """Count the changes folded in so far, over the life of the bundle."""
    totals = bundle.manifest.counts.get("changes", {"put": 0, "removed": 0})
    return {
        "put": totals["put"] + sum(len(batch.item_ids) for batch in bundle.batches),
        "removed": totals["removed"] + sum(len(batch.removed) for batch in bundle.batches),
    }
