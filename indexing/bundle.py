"""A bundle: a folder of immutable generations, one of them in force.

shop/CURRENT              the generation in force, replaced atomically
shop/LOCK                 single writer
shop/work-<fingerprint>/  embeddings of an unfinished build
shop/gen-<id>/            manifest.json and every file that it lists
"""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load

from indexing import fsops
from indexing.encoders.base import Encoder
from indexing.encoders.golden import check_golden
from indexing.errors import BundleError, DamagedFileError, EncoderMismatchError
from indexing.fusion import ModalityVectors
from indexing.index import VectorIndex, load_index
from indexing.item_ids import ItemIds
from indexing.manifest import MANIFEST, FileRecord, Manifest
from indexing.store import EmbeddingStore, Parts
from indexing.types import Modality

CURRENT = "CURRENT"
ATTRIBUTES, REJECTS, INDEX, GOLDEN, STORE, BRIDGE, PROMISE = (
    "attributes.parquet",
    "rejects.parquet",
    "index.bin",
    "golden.safetensors",
    "store",
    "bridge.safetensors",
    "promise.safetensors",
)
KEPT_GENERATIONS = 3

Content: TypeAlias = bytes | Path | Callable[[Path], None]
"""Bytes to write, an immutable file to link to, or a function that writes the path it is given."""

_GENERATION = re.compile(r"gen-[0-9tz]+-[0-9a-f]{8}")


class Bundle:
    """One generation of a bundle, checked at opening and never changing afterwards.

    Attributes:
        root: Folder of the bundle.
        folder: Folder of this generation.
        manifest: What it says about itself.
    """

    def __init__(self, root: Path, folder: Path, manifest: Manifest) -> None:
        self.root, self.folder, self.manifest = root, folder, manifest

    @classmethod
    def open(cls, root: Path | str) -> "Bundle":
        """Open the generation in force, and compare every file with its recorded size and sha256.

        Raises:
            BundleError: When there is no bundle, or one that this version cannot read.
            DamagedFileError: When a file is missing or is not what was written.
        """
        root = Path(root)
        generation = current_generation(root)
        if generation is None:
            raise BundleError(f"{root} holds no bundle; make one with `commonspace build SOURCE --out {root}`")
        folder = root / generation
        manifest = Manifest.read(folder / MANIFEST)
        for record in manifest.files:
            check_file(folder, record)
        return cls(root, folder, manifest)

    @cached_property
    def attributes(self) -> pa.Table:
        """One line an item in row order: item_id, text columns and attributes."""
        return pq.read_table(self.folder / ATTRIBUTES)

    @cached_property
    def items(self) -> ItemIds:
        """The item_ids in row order."""
        return ItemIds(self.attributes.column("item_id").to_pylist())

    @cached_property
    def modality_vectors(self) -> ModalityVectors:
        """The frozen vectors of every item and modality."""
        store = EmbeddingStore(self.folder / STORE, self.manifest.encoder.dim)
        collected = {m: store.collect(self.items, m) for m in self.manifest.encoder.modalities}
        return ModalityVectors({m: v for m, (v, _) in collected.items()}, {m: e for m, (_, e) in collected.items()})

    @cached_property
    def parts(self) -> dict[Modality, Parts]:
        """The frozen vector of every text, picture, sound and frame by itself, by modality."""
        store = EmbeddingStore(self.folder / STORE, self.manifest.encoder.dim)
        return {modality: store.parts(self.items, modality) for modality in self.manifest.encoder.modalities}

    @cached_property
    def index(self) -> VectorIndex:
        """The index over the item vectors."""
        told = self.manifest.index
        return load_index(self.folder / INDEX, told["kind"], told.get("efforts"))

    def has(self, name: str) -> bool:
        """Whether this generation contains a file."""
        return any(record.name == name for record in self.manifest.files)

    def read(self, name: str) -> bytes:
        """Give the bytes of a file of this generation."""
        return (self.folder / name).read_bytes()

    def check_encoder(self, encoder: Encoder) -> None:
        """Check that queries of this encoder live in the space of this bundle.

        Raises:
            EncoderMismatchError: When it is not the encoder that built the bundle, or gives other vectors.
        """
        built, given = self.manifest.encoder, encoder.info
        if built.fingerprint != given.fingerprint:
            raise EncoderMismatchError(
                f"{self.root} was built by encoder {built.name!r} (fingerprint {built.fingerprint[:12]}), not by "
                f"{given.name!r} ({given.fingerprint[:12]}): their vectors cannot be compared; load {built.name!r} "
                "as it was then, or build the bundle again"
            )
        check_golden(encoder, load(self.read(GOLDEN))["golden"])


def current_generation(root: Path) -> str | None:
    """Name of the generation in force, or None when there is none.

    Raises:
        DamagedFileError: When CURRENT names something that is no generation.
    """
    try:
        name = (root / CURRENT).read_text().strip()
    except FileNotFoundError:
        return None
    if not _GENERATION.fullmatch(name):
        raise DamagedFileError(f"{root / CURRENT} names {name[:60]!r}, which is no generation; build the bundle again")
    return name


def check_file(folder: Path, record: FileRecord) -> None:
    """Compare one file with its record.

    Raises:
        DamagedFileError: When it is missing or differs.
    """
    path = folder / record.name
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DamagedFileError(f"{path} is missing; build the bundle again") from error
    if size != record.size or fsops.sha256(path) != record.sha256:
        raise DamagedFileError(
            f"{path} is damaged: its bytes are not those that were written; build the bundle again "
            "(what is encoded already is kept)"
        )


def publish(root: Path, manifest: Manifest, files: Mapping[str, Content]) -> Bundle:
    """Write a new generation and put it in force. The caller holds the lock of the bundle.

    Args:
        root: Folder of the bundle.
        manifest: All but ``generation``, ``created`` and ``files``, which are filled in here.
        files: For each name the bytes to write, an immutable file to link to, or a function that writes the path.

    Returns:
        The generation, opened again from disk.
    """
    now = datetime.now(UTC)
    generation = f"gen-{now:%Y%m%dt%H%M%Sz}-{secrets.token_hex(4)}"
    unfinished = root / f"unfinished-{generation}"
    fsops.make_folder(unfinished)
    for name, content in files.items():
        path = unfinished / name
        fsops.make_folder(path.parent)
        if isinstance(content, bytes):
            fsops.write_bytes(path, content)
        elif isinstance(content, Path):
            fsops.link_or_copy(content, path)
        else:
            content(path)
    records = tuple(
        FileRecord(name, (unfinished / name).stat().st_size, fsops.sha256(unfinished / name)) for name in sorted(files)
    )
    complete = replace(manifest, generation=generation, created=now.isoformat(timespec="seconds"), files=records)
    fsops.write_bytes(unfinished / MANIFEST, complete.to_bytes())
    fsops.rename_folder(unfinished, root / generation)
    fsops.write_bytes(root / CURRENT, f"{generation}\n".encode())
    collect_garbage(root)
    return Bundle.open(root)


def collect_garbage(root: Path) -> None:
    """Remove unfinished generations and all but the newest few."""
    for folder in root.glob("unfinished-gen-*"):
        fsops.remove(folder)
    generations = sorted(folder for folder in root.glob("gen-*") if folder.name != current_generation(root))
    for folder in generations[: -(KEPT_GENERATIONS - 1)]:
        fsops.remove(folder)
