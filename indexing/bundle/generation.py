"""One immutable generation of a bundle: a folder with a manifest and every file that it lists."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from stat import S_ISREG

import pyarrow as pa
import pyarrow.parquet as pq

from indexing.arrays import Growing
from indexing.bundle.change_log import Batch
from indexing.bundle.current import is_generation
from indexing.bundle.manifest import MANIFEST, FileRecord, Manifest
from indexing.catalogue.item_ids import ItemIds
from indexing.encoders.base import Encoder, check_encoder, check_golden
from indexing.errors import BundleError, DamagedFileError, EncoderMismatchError
from indexing.filesystem import fsops
from indexing.filesystem.checked_files import REPAIR_HINT, finite_tensors, read_as, read_whole
from indexing.filesystem.locks import hold_read_lock
from indexing.index import FlatIndex, VectorIndex, load_index
from indexing.media.files import Modality
from indexing.runtime.arguments import check_kind
from indexing.store.collect import ModalityVectors, collect_vectors, fuse
from indexing.store.store import EmbeddingStore, Parts, check_table

WORDS, WORDS_SETTINGS = "words", "words/settings.json"
ATTRIBUTES, REJECTS, INDEX, GOLDEN, STORE, BRIDGE, RECALL_CHECK = (
    "attributes.parquet",
    "rejects.parquet",
    "index.bin",
    "golden.safetensors",
    "store",
    "bridge.safetensors",
    "promise.safetensors",
)
STAGED = "staged"
"""Begins the name of a folder whose generation waits to be published; see `indexing.bundle.maintenance.staged`."""
STAGED_ON = "staged_on"
"""Of what a manifest says of learned parts, the name of the generation that a staged one was made on."""
_FROM_FROZEN = frozenset({ATTRIBUTES, REJECTS, GOLDEN, STORE, BRIDGE, WORDS})
_FROM_ITEMS = _FROM_FROZEN | {INDEX, RECALL_CHECK}
"""Parts that a build has before anything is learned; the index is of the vectors that are served."""


class Generation:
    """A generation, checked at opening and kept on disk for as long as anybody has it open.

    Attributes:
        manifest: What it says about itself.
        is_whole: Whether it has all of its files; what `unlearned` gives has not.
    """

    def __init__(self, folder: Path, manifest: Manifest, *, is_whole: bool = True) -> None:
        self._folder, self.manifest, self.is_whole = folder, manifest, is_whole
        self._checked_encoder: Encoder | None = None

    @classmethod
    def open(cls, folder: Path, *, only: Collection[str] | None = None, skip: Collection[str] = ()) -> "Generation":
        """Compare files with their recorded sizes and sha256.

        Args:
            folder: Where it is.
            only: Parts to compare, see `part_of`; all when None.
            skip: Parts not to compare.

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
        for record in manifest.files:
            part = part_of(record.name)
            if part not in skip and (only is None or part in only):
                check_file(folder, record)
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
        found._checked_encoder = self._checked_encoder
        return found

    @cached_property
    def attributes(self) -> pa.Table:
        """One row per item in row order: item_id, text columns and attributes."""
        path = self.folder / ATTRIBUTES
        with read_as(str(path), REPAIR_HINT):
            table = check_table(pq.read_table(path))
            ids = table.column("item_id")
            if ids.type != pa.string() or ids.null_count or len(table) != self.manifest.items:
                raise ValueError(f"it holds {len(table)} items of which the manifest names {self.manifest.items}")
            return table

    @cached_property
    def items(self) -> ItemIds:
        """The item_ids in row order."""
        return ItemIds(self.attributes.column("item_id").to_pylist())

    @property
    def modality_vectors(self) -> ModalityVectors:
        """The frozen vectors of every item and modality."""
        return self.with_batches(())

    def with_batches(self, batches: Sequence[Batch]) -> ModalityVectors:
        """Return the frozen vectors of every item and modality, and after them those of the items put in since."""
        count, dim = len(self.items), self.manifest.encoder.dim
        vectors = {modality: rows.first(count) for modality, (rows, _) in self._growing.items()}
        exists = {modality: rows.first(count) for modality, (_, rows) in self._growing.items()}
        for batch in batches:
            for modality, (all_vectors, all_exist) in self._growing.items():
                added_vectors, added_exist = batch.parts(modality, dim).pooled(len(batch.item_ids))
                vectors[modality] = all_vectors.extended(count, added_vectors)
                exists[modality] = all_exist.extended(count, added_exist)
            count += len(batch.item_ids)
        return ModalityVectors(vectors, exists, self.manifest.encoder.modality_weights)

    @cached_property
    def _growing(self) -> dict[Modality, tuple[Growing, Growing]]:
        """Vectors and existence of each modality, shared by all that follow the changes."""
        vectors = collect_vectors(self.store(), self.items, self.manifest.encoder.modalities)
        # Of every modality that the encoder has, also of one that no item has yet.
        modalities = self.manifest.encoder.modalities
        return {m: (Growing(vectors.vectors[m]), Growing(vectors.exists[m])) for m in modalities}

    @cached_property
    def parts(self) -> dict[Modality, Parts]:
        """The frozen vector of every text, picture, sound and frame by itself, by modality."""
        store = self.store()
        return {modality: store.parts(self.items, modality) for modality in self.manifest.encoder.modalities}

    @cached_property
    def index(self) -> VectorIndex:
        """The index over the item vectors."""
        if not self.is_whole:
            return FlatIndex(fuse(self.modality_vectors))
        section = self.manifest.index
        with read_as(str(self.folder / INDEX), REPAIR_HINT):
            index = load_index(self.folder / INDEX, section["kind"], section.get("efforts"))
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
        return any(record.name == name for record in self.manifest.files)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file of this generation."""
        if not self.has(name):
            raise BundleError(f"{self.folder} has no file {name!r}")
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
    """Return what a file of a generation is a part of: index, words and store, of several files, or else itself.

    >>> part_of("index.bin.0003"), part_of("words/settings.json"), part_of("golden.safetensors")
    ('index.bin', 'words', 'golden.safetensors')
    """
    for folder in (WORDS, STORE):
        if name.startswith(f"{folder}/"):
            return folder
    return INDEX if name.startswith(INDEX) else name


def missing_names(manifest: Manifest) -> list[str]:
    """Return the files that a generation needs and a manifest does not list; each feature has a file of its name."""
    names = {record.name for record in manifest.files}
    needed = (ATTRIBUTES, INDEX, GOLDEN, *(f"{feature}.safetensors" for feature in manifest.features))
    return [name for name in needed if name not in names]


def unlisted(folder: Path, manifest: Manifest) -> list[str]:
    """Return the files in a generation that its manifest does not list; hidden ones are the operating system's own."""
    listed = {record.name for record in manifest.files} | {MANIFEST}
    names_on_disk = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if not path.is_dir())
    return [name for name in names_on_disk if name not in listed and not Path(name).name.startswith(".")]


def check_file(folder: Path, record: FileRecord) -> None:
    """Compare one file with its record.

    Raises:
        DamagedFileError: When it is missing or differs.
    """
    path = folder / record.name
    try:
        stat = path.stat()
        matches = stat.st_size == record.size and S_ISREG(stat.st_mode) and fsops.sha256(path) == record.sha256
    except FileNotFoundError as error:
        raise DamagedFileError(f"{path} is missing; {REPAIR_HINT}") from error
    except OSError as error:  # as of a bad sector
        raise DamagedFileError(f"{path} cannot be read ({error.strerror or error}); {REPAIR_HINT}") from error
    if not matches:
        raise DamagedFileError(f"{path} is damaged: its bytes are not those that were written; {REPAIR_HINT}")
