"""One immutable generation of a bundle: a folder with a manifest and every file that it lists."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from indexing.arrays import Growing
from indexing.bundle.change_log import Batch
from indexing.bundle.current import is_generation
from indexing.bundle.manifest import MANIFEST, Manifest
from indexing.catalogue.item_ids import ItemIds
from indexing.encoders.base import Encoder, check_encoder, check_golden
from indexing.errors import BundleError, DamagedFileError, EncoderMismatchError
from indexing.filesystem.checked_files import REPAIR_HINT, finite_tensors, read_as, read_whole
from indexing.filesystem.file_checks import Check, FileChecks
from indexing.filesystem.id_table import MappedIds
from indexing.filesystem.locks import hold_read_lock
from indexing.filesystem.mapped import map_array, map_table
from indexing.index import FlatIndex, VectorIndex, load_index
from indexing.index.tuning import sample_queries
from indexing.index.tuning.sample_queries import SAMPLE_QUERIES, SampleQueries
from indexing.media.files import Modality
from indexing.runtime.arguments import check_kind
from indexing.store.collect import FROZEN, ModalityVectors, collect_vectors, frozen_names, fuse, map_frozen
from indexing.store.lazy_rows import GrowingRows
from indexing.store.store import EmbeddingStore, Parts, check_table

WORDS, WORDS_SETTINGS = "words", "words/settings.json"
ATTRIBUTES, FORMER_ATTRIBUTES, IDS = "attributes.arrow", "attributes.parquet", "ids.npy"
REJECTS, INDEX, GOLDEN, STORE, BRIDGE, RECALL_CHECK, CONTENT_SUM = (
    "rejects.parquet",
    "index.bin",
    "golden.safetensors",
    "store",
    "bridge.safetensors",
    "promise.safetensors",
    "content_sum.npy",
)
STAGED = "staged"
"""Begins the name of a folder whose generation waits to be published; see `indexing.bundle.maintenance.staged`."""
KEPT_HINT = (
    "the current state does not need it: ask for another generation; `repair` leaves it, and it goes with its own"
)
"""What to do about damage of a generation that is not current."""
STAGED_ON = "staged_on"
"""Of what a manifest says of learned parts, the name of the generation that a staged one was made on."""
COPIED = frozenset({FROZEN, IDS, CONTENT_SUM})
"""Parts that say again what the store and the attributes say, as files that are mapped."""
_FROM_FROZEN = frozenset({ATTRIBUTES, IDS, FROZEN, REJECTS, GOLDEN, STORE, BRIDGE, WORDS, SAMPLE_QUERIES})
_FROM_ITEMS = _FROM_FROZEN | {INDEX, RECALL_CHECK, CONTENT_SUM}
"""Parts that a build has before anything is learned; the index is of the vectors that are served."""
MANY_ITEMS = 100_000  # whose ids are not all Python strings


class Generation:
    """A generation, checked at opening and kept on disk for as long as anybody has it open.

    Attributes:
        manifest: What it says about itself.
        is_whole: Whether it has all of its files; what `unlearned` gives has not.
    """

    def __init__(self, folder: Path, manifest: Manifest, *, is_whole: bool = True) -> None:
        self._folder, self.manifest, self.is_whole = folder, manifest, is_whole
        self.checks = FileChecks(folder, ())
        self._skipped: frozenset[str] = frozenset()
        self._checked_encoder: Encoder | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        only: Collection[str] | None = None,
        skip: Collection[str] = (),
        check: Check = "all",
    ) -> "Generation":
        """Compare files with their recorded sizes and sha256.

        Args:
            folder: Where it is.
            only: Parts to compare, see `part_of`; all when None.
            skip: Parts not to compare; of those that are copies of others nothing is used.
            check: When bytes are compared, see `FileChecks`; sizes are at once.

        Raises:
            BundleError: When this version cannot read it.
            DamagedFileError: When a file is missing or is not what was written.
        """
        manifest = Manifest.read(folder / MANIFEST)
        if folder.name not in (manifest.generation, f"{STAGED}-{manifest.generation}"):
            raise DamagedFileError(f"{folder / MANIFEST} is that of {manifest.generation!r}; {REPAIR_HINT}")
        generation = cls(folder, manifest)
        if missing := missing_names(manifest):
            raise DamagedFileError(f"{folder / MANIFEST} lists no file {missing[0]!r}; {REPAIR_HINT}")
        hold_read_lock(generation, folder / MANIFEST)
        generation._skipped = COPIED.intersection(skip)
        parts = {record.name: part_of(record.name) for record in manifest.files}
        wanted = [r for r in manifest.files if parts[r.name] not in skip and (only is None or parts[r.name] in only)]
        generation.checks = FileChecks(folder, wanted, check, moved=folder.with_name(manifest.generation))
        return generation

    @property
    def folder(self) -> Path:
        """Where it is; one that was opened while it was staged has moved when it was published."""
        return self._folder if self._folder.exists() else self._folder.with_name(self.manifest.generation)

    @property
    def has_learned(self) -> bool:
        """Whether it has files of what was learned of users."""
        return any(part_of(record.name) not in _FROM_ITEMS for record in self.manifest.files)

    @cached_property
    def unlearned(self) -> "Generation":
        """This generation without what was learned of users: its frozen vectors, searched exactly.

        Items and frozen vectors are in memory once for both.
        """
        files = tuple(record for record in self.manifest.files if part_of(record.name) in _FROM_FROZEN)
        config = replace(self.manifest.index_config(), kind="flat", on_disk=False)
        index = {"kind": "flat", "config": asdict(config)}
        manifest = replace(self.manifest, features=(), learned={}, index=index, files=files)
        found = Generation(self.folder, manifest, is_whole=False)
        hold_read_lock(found, self.folder / MANIFEST)
        vars(found).update(attributes=self.attributes, items=self.items, _growing=self._growing)
        found.checks, found._skipped = self.checks, self._skipped
        found._checked_encoder = self._checked_encoder
        return found

    @cached_property
    def attributes(self) -> pa.Table:
        """One row per item in row order: item_id, text columns and attributes."""
        self.check_part(ATTRIBUTES)
        path = self.folder / (ATTRIBUTES if self.has(ATTRIBUTES) else FORMER_ATTRIBUTES)
        with read_as(str(path), REPAIR_HINT):
            table = map_table(path) if self.has(ATTRIBUTES) else check_table(pq.read_table(path))
            ids = table.column("item_id")
            if ids.type != pa.string() or ids.null_count or len(table) != self.manifest.items:
                raise ValueError(f"it holds {len(table)} items of which the manifest names {self.manifest.items}")
            return table

    @cached_property
    def items(self) -> ItemIds:
        """The item_ids in row order."""
        ids, count = self.attributes.column("item_id"), self.manifest.items
        if count <= MANY_ITEMS or not self.has(IDS):
            return ItemIds(ids.to_pylist())
        self.check_part(IDS)
        return ItemIds.of_table(MappedIds(ids, map_array(self.folder / IDS, (2, count), np.uint64)))

    @property
    def modality_vectors(self) -> ModalityVectors:
        """The frozen vectors of every item and modality."""
        return self.with_batches(())

    def with_batches(self, batches: Sequence[Batch]) -> ModalityVectors:
        """Return the frozen vectors of every item and modality, and after them those of the items put in since."""
        count, dim = self.manifest.items, self.manifest.encoder.dim
        vectors, exists = {}, {}
        for modality, (rows, mask) in self._growing.items():
            vectors[modality] = rows.extended(count, np.empty((0, dim), np.float16))
            exists[modality] = mask.first(count)
        for batch in batches:
            for modality, (rows, mask) in self._growing.items():
                added_vectors, added_exist = batch.parts(modality, dim).pooled(len(batch.item_ids))
                vectors[modality] = rows.extended(count, added_vectors)
                exists[modality] = mask.extended(count, added_exist)
            count += len(batch.item_ids)
        return ModalityVectors(vectors, exists, self.manifest.encoder.modality_weights)

    @cached_property
    def _growing(self) -> dict[Modality, tuple[GrowingRows, Growing]]:
        """Vectors and existence of each modality, shared by all that follow the changes."""
        # Of every modality that the encoder has, also of one that no item has yet.
        modalities, dim = self.manifest.encoder.modalities, self.manifest.encoder.dim
        if all(map(self.has, frozen_names(modalities))):
            self.check_part(FROZEN)
            vectors = map_frozen(self.folder, modalities, self.manifest.items, dim)
        else:
            self.check_part(STORE)
            vectors = collect_vectors(self.store(), self.items, modalities)
        return {m: (GrowingRows(vectors.vectors[m]), Growing(vectors.exists[m])) for m in modalities}

    @cached_property
    def content_sum(self) -> NDArray[np.float64] | None:
        """The sum of the content of all items, (D,) float64; None where it was not kept."""
        if not self.has(CONTENT_SUM):
            return None
        self.check_part(CONTENT_SUM)
        return map_array(self.folder / CONTENT_SUM, (self.manifest.encoder.dim,), np.float64)

    @cached_property
    def sample_queries(self) -> SampleQueries:
        """The queries that were given to the build, by kind; see `indexing.index.tuning.sample_queries`."""
        if not self.has(SAMPLE_QUERIES):
            return {}
        return sample_queries.from_bytes(self.read(SAMPLE_QUERIES), self.manifest.encoder.dim)

    @cached_property
    def parts(self) -> dict[Modality, Parts]:
        """The frozen vector of every text, picture, sound and frame by itself, by modality."""
        self.check_part(STORE)
        store = self.store()
        return {modality: store.parts(self.items, modality) for modality in self.manifest.encoder.modalities}

    @cached_property
    def index(self) -> VectorIndex:
        """The index over the item vectors."""
        if not self.is_whole:
            return FlatIndex(fuse(self.modality_vectors))
        section = self.manifest.index
        # A damaged graph would lead a search out of its memory, which ends the process.
        self.checks.use(lambda name: part_of(name) == INDEX, whole="hnsw" in section.get("kind", ""))
        with read_as(str(self.folder / INDEX), REPAIR_HINT):
            path, moved = self.folder / INDEX, self.folder.with_name(self.manifest.generation) / INDEX
            index = load_index(path, section["kind"], section.get("efforts"), moved=moved)
            if len(index) != self.manifest.items:
                raise ValueError(f"it holds {len(index)} items of which the manifest names {self.manifest.items}")
            return index

    def store(self) -> EmbeddingStore:
        """Open the store of its embeddings: the shards that the manifest lists, whatever else lies beside them."""
        return EmbeddingStore(self.folder / STORE, self.manifest.encoder.dim, self.shards)

    @property
    def shards(self) -> list[Path]:
        """The shards of its store, in order."""
        names = sorted(record.name for record in self.manifest.files)
        return [self.folder / name for name in names if name.startswith(f"{STORE}/")]

    def has(self, name: str) -> bool:
        """Whether this generation contains a file."""
        check_kind(name, str, "name", "give that of a file, as text")
        return any(record.name == name for record in self.manifest.files) and part_of(name) not in self._skipped

    def check_part(self, part: str) -> None:
        """Compare the files of a part before they are read, as far as that was put off until now."""
        self.checks.use(lambda name: part_of(name) == part)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file of this generation."""
        if not self.has(name):
            raise BundleError(f"{self.folder} has no file {name!r}")
        self.check_part(part_of(name))
        return read_whole(self.folder / name)

    def check_encoder(self, encoder: Encoder) -> None:
        """Check that queries of this encoder live in the space of this generation.

        Raises:
            EncoderMismatchError: When it is not the encoder that built it, or gives other vectors.
        """
        check_encoder(encoder)
        if encoder is self._checked_encoder:
            return
        built, other = self.manifest.encoder, encoder.info
        if built.fingerprint != other.fingerprint:
            raise EncoderMismatchError(
                f"{self.folder.parent} was built by encoder {built.name!r} (fingerprint {built.fingerprint[:12]}), not "
                f"by {other.name!r} ({other.fingerprint[:12]}): their vectors cannot be compared; load {built.name!r} "
                "as it was then, or build the bundle again"
            )
        with read_as("the golden vectors", "build the bundle again"):
            golden = finite_tensors(self.read(GOLDEN))["golden"]
        check_golden(encoder, golden)
        self._checked_encoder = encoder


def generations(root: Path | str) -> list[str]:
    """Return the names of the generations that are kept, in the order in which they were made, whatever the clock said.

    Those of which that cannot be told, as their manifest is damaged or older than the count, come first, by name.
    """
    names = sorted(folder.name for folder in Path(root).glob("gen-*") if is_generation(folder.name))
    return sorted(names, key=lambda name: _sequence(Path(root, name)))


def _sequence(folder: Path) -> int:
    try:
        return Manifest.read(folder / MANIFEST).sequence
    except BundleError:
        return 0


def part_of(name: str) -> str:
    """Return what a file of a generation is a part of: index, words, store and the like, or else itself.

    >>> part_of("index.bin.0003"), part_of("words/settings.json"), part_of("golden.safetensors")
    ('index.bin', 'words', 'golden.safetensors')
    """
    for folder in (WORDS, STORE, FROZEN):
        if name.startswith(f"{folder}/"):
            return folder
    if name == FORMER_ATTRIBUTES:
        return ATTRIBUTES
    return INDEX if name.startswith(INDEX) else name


def missing_names(manifest: Manifest) -> list[str]:
    """Return the files that a generation needs and a manifest does not list; each feature has a file of its name."""
    names = {record.name for record in manifest.files}
    attributes = FORMER_ATTRIBUTES if FORMER_ATTRIBUTES in names else ATTRIBUTES
    needed = (attributes, INDEX, GOLDEN, *(f"{feature}.safetensors" for feature in manifest.features))
    return [name for name in needed if name not in names]


def unlisted(folder: Path, manifest: Manifest) -> list[str]:
    """Return the files in a generation that its manifest does not list; hidden ones are the operating system's own."""
    listed = {record.name for record in manifest.files} | {MANIFEST}
    names_on_disk = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if not path.is_dir())
    return [name for name in names_on_disk if name not in listed and not Path(name).name.startswith(".")]
