"""What a generation of a bundle says about itself: one JSON file, read with suspicion."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from indexing.encoders.base import EncoderInfo
from indexing.errors import BundleError, DamagedFileError
from indexing.sealed import WAY_OUT, seal, unseal

FORMAT_VERSION = 2
KNOWN_FEATURES = frozenset({"adapter", "behaviour", "profiles", "reranker"})
MANIFEST = "manifest.json"

_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*(/[a-z0-9][a-z0-9_.-]*)?")


@dataclass(frozen=True)
class FileRecord:
    """Name, size in bytes and sha256 of one file of a generation."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a generation contains and how it came to be.

    Attributes:
        generation: Its identifier.
        created: When it was made, ISO 8601, UTC.
        encoder: The encoder that made its embeddings.
        items: Number of items, which is the number of rows of the index.
        counts: Embeddings encoded and quarantined for each modality, rows rejected, and the like.
        columns: Which columns of the source became item_id, text and image.
        index: Kind, measured recall and settings of the index.
        learned: For each learned part what it was trained on and what it was measured to do.
        features: What a reader must understand to open this generation.
        files: Every file of the generation but this one.
        batches: Number of the last batch of changes that it contains.
        format_version: Version of the layout.
    """

    generation: str
    created: str
    encoder: EncoderInfo
    items: int
    counts: Mapping[str, Any]
    columns: Mapping[str, Any]
    index: Mapping[str, Any]
    learned: Mapping[str, Any] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    files: tuple[FileRecord, ...] = ()
    batches: int = 0
    format_version: int = FORMAT_VERSION

    def to_bytes(self) -> bytes:
        """Give the manifest as JSON with a checksum."""
        return seal(asdict(self) | {"encoder": self.encoder.to_json()})

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read a manifest and check that this version understands it.

        Raises:
            DamagedFileError: When it is missing, not what was written, or lacks a field.
            BundleError: When it was written by a version that knows more.
        """
        data = unseal(path)
        try:
            version, features = data["format_version"], set(data["features"])
        except (KeyError, TypeError) as error:
            raise DamagedFileError(f"{path} cannot be read as a manifest ({error}); {WAY_OUT}") from error
        if version != FORMAT_VERSION or not features <= KNOWN_FEATURES:
            raise BundleError(
                f"{path} needs format {version} with features {sorted(features)}; this version reads format "
                f"{FORMAT_VERSION} with {sorted(KNOWN_FEATURES)}: upgrade commonspace, or build the bundle again"
            )
        try:
            files = tuple(FileRecord(**record) for record in data.pop("files"))
            encoder = EncoderInfo.from_json(data.pop("encoder"))
            manifest = cls(encoder=encoder, files=files, **{**data, "features": tuple(data["features"])})
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedFileError(f"{path} lacks a field or has one too many ({error}); {WAY_OUT}") from error
        if unsafe := [record.name for record in files if not _FILE_NAME.fullmatch(record.name)]:
            raise DamagedFileError(f"{path} names files outside its folder: {unsafe[:3]}")
        return manifest
