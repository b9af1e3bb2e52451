"""A bundle: a folder of immutable generations, one of them current, and the changes since.

shop/CURRENT              the current generation and the last acknowledged change, replaced atomically
shop/LOCK                 single writer
shop/work-<fingerprint>/  embeddings of an unfinished build
shop/gen-<id>/            manifest.json and every file that it lists
shop/log/<number>-…       batches of changes
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from indexing.arrays import Mask, Rows, Vectors
from indexing.bundle.change_log import LOG, Batch, acknowledged, digest_of, read_batch
from indexing.bundle.current import State, is_generation, no_bundle_error, read_state
from indexing.bundle.generation import KEPT_HINT, STAGED, STAGED_ON, Generation, generations
from indexing.bundle.manifest import Manifest
from indexing.bundle.updated_items import with_updates
from indexing.catalogue.item_ids import ItemIds
from indexing.encoders.base import Encoder
from indexing.errors import BundleError, DamagedFileError, GenerationError, InputError, examples
from indexing.filesystem.checked_files import REPAIR_HINT
from indexing.filesystem.file_checks import CHECKS, Check
from indexing.index import VectorIndex
from indexing.index.backends.flat import FlatIndex
from indexing.media.files import Modality
from indexing.runtime.arguments import check_choice, check_kind, check_local_path, check_names, check_whole
from indexing.store.collect import ModalityVectors
from indexing.store.store import Parts


class Bundle:
    """A generation with the changes since, checked at opening and never changing afterwards.

    The generation's items keep their rows; every item put in since has a row after them. A row whose item was taken
    out or put in again stays, but is no longer live.

    Attributes:
        root: Folder of the bundle.
        generation: The current generation.
        state: The state that was current when this was opened.
        batches: The changes since that generation, in order.
        is_pinned: Whether it stays with its generation when another one becomes current.
        check: When the files of its generation, and of one that follows it, are compared with their records.
    """

    def __init__(
        self,
        root: Path,
        generation: Generation,
        state: State,
        batches: tuple[Batch, ...],
        *,
        is_pinned: bool = False,
        check: Check = "all",
    ) -> None:
        self.root, self.generation, self.state, self.batches = root, generation, state, batches
        self.is_pinned, self.check = is_pinned, check

    @classmethod
    def open(
        cls,
        root: Path | str,
        *,
        only: Collection[str] | None = None,
        generation: str | None = None,
        check: Check = "all",
    ) -> "Bundle":
        """Open the current state, and compare its files with what was recorded of them.

        Args:
            root: Folder of the bundle.
            only: Files of the generation that will be read, for who needs but a few; all when None.
            generation: Name of a generation that is kept, or of the one that is staged: it is opened as if it were
                current, with every acknowledged change that it does not contain, as after a `rollback` to it.
            check: When the bytes of the files are compared: ``"all"`` now; ``"lazy"`` each before it is first used;
                ``"background"`` in a thread, and once a damaged file is found the next call is refused; ``"auto"`` now
                if they are up to 1 GiB, or else in the background. ``generation.checks.progress`` says how far that is.
                Sizes and changes are compared now in any case.

        Raises:
            BundleError: When there is no bundle, or one that this version cannot read.
            DamagedFileError: When a file is missing or is not what was written.
            GenerationError: When no such generation is kept, or it cannot take a change that came after it.
        """
        root = check_local_path(root, "the folder of the bundle")
        if only is not None:
            check_names(only, "only", ordered=False)
        check_choice(check, "check", CHECKS)
        state = read_state(root)
        if generation is not None and state is not None:
            try:
                kept = _kept_generation(root, generation, only, check)
            except DamagedFileError as error:
                if generation == state.generation:
                    raise
                raise DamagedFileError(f"{str(error).removesuffix(f'; {REPAIR_HINT}')}; {KEPT_HINT}") from error
            return with_current(root, kept, state, (), check)
        while state is not None:
            try:
                current = Generation.open(root / state.generation, only=only, check=check)
                return cls(root, current, state, _read_batches(root, state, current.manifest), check=check)
            except (DamagedFileError, FileNotFoundError):
                previous, state = state, read_state(root)
                if state == previous:  # or else another became current meanwhile, and the old one collected
                    raise
        raise no_bundle_error(root)

    def latest(self) -> "Bundle":
        """Return this bundle with what became current since: itself when that is nothing.

        What a new state shares with this one is not read again. One that was opened by the name of a generation stays
        with it, and takes the changes since.
        """
        state = read_state(self.root)
        if state == self.state:
            return self
        if self.is_pinned and state is not None:
            if state.last == self.state.last:
                return self
            known = self.batches if state.last > self.state.last else ()
            return with_current(self.root, self.generation, state, known, self.check)
        if state is None or state.generation != self.state.generation or state.last < self.state.last:
            return self._newly_opened()
        try:
            batches = _read_batches(self.root, state, self.generation.manifest, self.batches)
        except DamagedFileError:
            return self._newly_opened()
        return Bundle(self.root, self.generation, state, batches, check=self.check)

    def _newly_opened(self) -> "Bundle":
        bundle = Bundle.open(self.root, check=self.check)
        return bundle if self.generation.is_whole else bundle.without_learned()

    def pinned(self) -> "Bundle":
        """Return this bundle, staying with its generation when another one becomes current."""
        if self.is_pinned:
            return self
        return Bundle(self.root, self.generation, self.state, self.batches, is_pinned=True, check=self.check)

    def without_learned(self) -> "Bundle":
        """Return this bundle without what was learned of users, as it was before `fit`: itself if that is nothing.

        Items, changes and frozen vectors are the same, and in memory once; the frozen vectors are searched exactly.
        """
        if not self.generation.has_learned:
            return self
        unlearned = self.generation.unlearned
        return Bundle(self.root, unlearned, self.state, self.batches, is_pinned=self.is_pinned, check=self.check)

    def until(self, last: int) -> "Bundle":
        """Return this bundle without the changes after the one of a number, 0 or more: itself if there are none."""
        if check_whole(last, "last", 0) >= self.state.last:
            return self
        state, batches = replace(self.state, last=last), self.batches[: max(0, last - self.manifest.batches)]
        return Bundle(self.root, self.generation, state, batches, is_pinned=True, check=self.check)

    @property
    def folder(self) -> Path:
        """Folder of the generation."""
        return self.generation.folder

    @property
    def manifest(self) -> Manifest:
        """What the generation says about itself."""
        return self.generation.manifest

    @property
    def index(self) -> VectorIndex:
        """The index over the generation's own items, without the changes since."""
        return self.generation.index

    @cached_property
    def items(self) -> ItemIds:
        """The item_ids in row order."""
        return self.generation.items.changed(*((batch.removed, batch.item_ids) for batch in self.batches))

    @cached_property
    def is_live(self) -> Mask:
        """(N,) bool: the rows that hold an item, all but those taken out or replaced since."""
        return self.items.is_live

    @cached_property
    def attributes(self) -> pa.Table:
        """One row per row: item_id, text columns and attributes, as they are after every update."""
        try:
            return with_updates(self.put_attributes, self.items, self.batches)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise BundleError(
                f"updates of the attributes of {self.root} have other types: {error}; build the bundle again"
            ) from error

    @cached_property
    def put_attributes(self) -> pa.Table:
        """One row per row: item_id, text columns and attributes, as they were when the item was put in."""
        tables = [self.generation.attributes, *(batch.attributes for batch in self.batches)]
        try:
            return pa.concat_tables(tables, promote_options="default")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise BundleError(
                f"the attributes of {self.root} and of changes since have other types: {error}; build the bundle again"
            ) from error

    @cached_property
    def origins(self) -> Rows:
        """(M,) int64: for each row added since, the generation's row of the same item, or -1."""
        known = self.generation.items.row
        rows = (known(item_id) for batch in self.batches for item_id in batch.item_ids)
        return np.array([-1 if row is None else row for row in rows], np.int64)

    @cached_property
    def modality_vectors(self) -> ModalityVectors:
        """The frozen vectors of every row and modality."""
        return self.generation.with_batches(self.batches)

    @cached_property
    def parts(self) -> dict[Modality, Parts]:
        """The frozen vector of every text, picture, sound and frame by itself, by modality."""
        parts_by_modality = {}
        for modality, parts in self.generation.parts.items():
            start, pieces = len(self.generation.items), [parts]
            for batch in self.batches:
                batch_parts = batch.parts(modality, self.manifest.encoder.dim)
                pieces.append(Parts(batch_parts.rows + start, batch_parts.labels, batch_parts.vectors))
                start += len(batch.item_ids)
            parts_by_modality[modality] = Parts(
                np.concatenate([piece.rows for piece in pieces]),
                [label for piece in pieces for label in piece.labels],
                np.concatenate([piece.vectors for piece in pieces]),
            )
        return parts_by_modality

    def has(self, name: str) -> bool:
        """Whether the generation contains a file."""
        return self.generation.has(name)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file of the generation."""
        return self.generation.read(name)

    def check_encoder(self, encoder: Encoder) -> None:
        """Check that queries of this encoder live in the space of this bundle; see `Generation.check_encoder`."""
        self.generation.check_encoder(encoder)

    def require_compacted(self) -> "Bundle":
        """Return this bundle, if its generation contains every change.

        Raises:
            BundleError: When it does not.
        """
        if self.batches:
            raise BundleError(
                f"{self.root} has {len(self.batches)} batches of changes that its generation does not contain; run "
                f"`commonspace compact {self.root}` first"
            )
        return self


def with_current(
    root: Path, generation: Generation, state: State, read_before: Sequence[Batch] = (), check: Check = "all"
) -> Bundle:
    """Return a bundle in which a generation is current, with every acknowledged change that it does not contain.

    Args:
        root: Folder of the bundle.
        generation: An opened generation.
        state: The current state, which may name another.
        read_before: The first of these changes, if they are known.
        check: How the generation was opened.

    Raises:
        GenerationError: When it cannot take a change that came after it.
        DamagedFileError: When a change is damaged.
    """
    manifest = generation.manifest
    names = acknowledged(root, state, manifest.batches)
    batches = (*read_before, *(read_batch(root / LOG / name) for name in names[len(read_before) :]))
    if state.generation != manifest.generation:
        state = state.succeeded_by(manifest.generation, manifest.batches, digest_of(names), manifest.sequence)
    bundle = Bundle(root, generation, state, batches, is_pinned=True, check=check)
    try:
        check_encoders(root, manifest, batches)
        _ = bundle.attributes  # which must fit together
    except DamagedFileError:
        raise
    except BundleError as error:
        raise GenerationError(f"{manifest.generation} cannot take the changes since: {error}") from error
    return bundle


def _kept_generation(root: Path, name: str, only: Collection[str] | None, check: Check) -> Generation:
    """Open a generation by its name, also the one that is staged.

    Raises:
        GenerationError: When it is not kept, or that which it was made on is not.
    """
    check_kind(name, str, "generation", "give the name of a generation, or None")
    kept, staged = root / name, root / f"{STAGED}-{name}"
    for folder in (kept, staged, kept) if is_generation(name) else ():  # it may be published between two looks
        try:
            if folder.is_dir():
                generation = Generation.open(folder, only=only, check=check)
                break
        except DamagedFileError:
            if folder.is_dir():  # or else it was collected or published meanwhile
                raise
    else:
        raise GenerationError(f"{root} keeps no generation {name[:60]!r}; it keeps {_named_generations(root)}")
    base = generation.manifest.learned.get(STAGED_ON)
    if folder == staged and base not in generations(root):  # changes that it lacks may be gone
        raise GenerationError(f"{name} is staged, and {base}, which it was made on, is not kept any more; fit again")
    return generation


def _named_generations(root: Path) -> str:
    """Name those that may be opened by name: the ones that are kept, and the one that is staged."""
    names = generations(root)
    staged = sorted(folder.name.removeprefix(f"{STAGED}-") for folder in root.glob(f"{STAGED}-gen-*"))
    kept = examples(names, len(names))
    return f"{kept}, and {examples(staged, len(staged))}, which is staged" if staged else kept


def _read_batches(root: Path, state: State, manifest: Manifest, read_before: Sequence[Batch] = ()) -> tuple[Batch, ...]:
    """Read the batches that a generation does not contain, but for those known."""
    names = acknowledged(root, state, manifest.batches)
    batches = (*read_before, *(read_batch(root / LOG / name) for name in names[len(read_before) :]))
    check_encoders(root, manifest, batches)
    return batches


def check_encoders(root: Path, manifest: Manifest, batches: Sequence[Batch]) -> None:
    """Check that changes were encoded as a generation was.

    Raises:
        BundleError: When they were not.
    """
    for batch in batches:
        if batch.fingerprint not in ("", manifest.encoder.fingerprint):
            raise BundleError(
                f"batch {batch.number} of the changes to {root} was encoded by another encoder than "
                f"{manifest.generation}: build the bundle again with the encoder that is wanted"
            )


def served_vectors(bundle: Bundle) -> Vectors:
    """Return the item vectors that a bundle's index searches, as exact as it keeps them: (N, D) float32."""
    index = bundle.index
    if isinstance(index, FlatIndex):
        return index.vectors
    from indexing.index.backends.faiss import FaissIndex
    from indexing.index.backends.ivf import IvfIndex
    from indexing.index.backends.lance import LanceIndex
    from indexing.index.backends.sharded import ShardedIndex

    if isinstance(index, FaissIndex | IvfIndex | ShardedIndex | LanceIndex):
        return index.vectors
    raise InputError(f"index kind {index.kind!r} does not give its vectors back")
