"""What a generation of a bundle says about itself: one JSON file, read with suspicion."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from indexing.encoders.base import EncoderInfo
from indexing.errors import BundleError, DamagedFileError
from indexing.filesystem.checked_files import REPAIR_HINT, misfit, seal, unseal
from indexing.filesystem.file_checks import FileRecord
from indexing.index.config import IndexConfig

FORMAT_VERSION = 3
READ_VERSIONS = (2, FORMAT_VERSION)  # the former has attributes as Parquet, and vectors in the store alone
KNOWN_FEATURES = frozenset({"adapter", "behaviour", "profiles", "reranker"})
MANIFEST = "manifest.json"

_OF_ALL_VERSIONS = {"format_version": int, "features": [str]}
_SCHEMA = {
    "generation": str,
    "created": str,
    "encoder": {
        "name": str,
        "dim": int,
        "modalities": [str],
        "fingerprint": str,
        "precision?": str,
        "weights?": [float],
    },
    "items": int,
    "counts": dict,
    "columns": dict,
    "index": {
        "kind?": str,
        "config?": {"min_recall?": float},
        "recall?": {"*": float},
        "efforts?": {"*": {"*": int}},
        "trained?": {"generation": str, "rows": int, "changed": int},
    },
    "learned?": {
        "user_model?": dict,  # its values are checked where it is made
        "config?": dict,
        "interactions?": int,
        "until?": (int,),
        "serving?": {"*": float},
        "refreshed?": (str,),
        "measured?": dict,
        "exposure?": ({"item_id?": str, "share?": float, "allowed?": float},),
        "training?": {"*": {"train?": [float], "valid?": [float], "best?": int}},
        "preparation?": (dict,),
    },
    "features": [str],
    "files": [{"name": str, "size": int, "sha256": str}],
    "batches?": int,
    "sequence?": int,
    "compacts?": [str],
}
_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*(/[a-z0-9_][a-z0-9_.-]*){0,3}")


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
        sequence: How many generations of the bundle were made up to this one; 0 where not counted.
        format_version: Version of the layout.
        compacts: The generations that it is, but for changes that it contains and they do not, oldest first.
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
    sequence: int = 0
    format_version: int = FORMAT_VERSION
    compacts: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Return the manifest as JSON with a checksum."""
        return seal(asdict(self) | {"encoder": self.encoder.to_json()})

    def index_config(self) -> IndexConfig:
        """Return what the index must achieve.

        Raises:
            DamagedFileError: When that is not said, or in a way that this version cannot use.
        """
        try:
            return IndexConfig(**self.index["config"])
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedFileError(
                f"the index settings of {self.generation} cannot be used ({error}); {REPAIR_HINT}"
            ) from error

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read a manifest and check that this version understands it.

        Raises:
            DamagedFileError: When it is missing, not what was written, or lacks a field.
            BundleError: When it was written by a version that knows more.
        """
        data = unseal(path, _OF_ALL_VERSIONS)
        version, features = data["format_version"], set(data["features"])
        if version not in READ_VERSIONS or not features <= KNOWN_FEATURES:
            raise BundleError(
                f"{path} needs format {version} with features {sorted(features)}; this version reads formats "
                f"{READ_VERSIONS} with {sorted(KNOWN_FEATURES)}: upgrade commonspace, or build the bundle again"
            )
        if unknown := sorted(data.keys() - {field_.name for field_ in fields(cls)}):
            raise BundleError(
                f"{path} has fields that this version does not know: {', '.join(unknown)[:200]}; it was perhaps "
                "written by a newer release: upgrade commonspace"
            )
        if misfit_ := misfit(data, _SCHEMA):
            raise DamagedFileError(f"{path} cannot be used: {misfit_}; {REPAIR_HINT}")
        try:
            files = tuple(FileRecord(**record) for record in data.pop("files"))
            encoder = EncoderInfo.from_json(data.pop("encoder"))
            lists = {name: tuple(data.get(name, ())) for name in ("features", "compacts")}
            manifest = cls(encoder=encoder, files=files, **{**data, **lists})
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedFileError(f"{path} lacks a field ({error}); {REPAIR_HINT}") from error
        if min(manifest.items, encoder.dim) < 1 or min(manifest.batches, manifest.sequence) < 0:
            raise DamagedFileError(f"{path} counts {manifest.items} items of {encoder.dim} dimensions; {REPAIR_HINT}")
        if unsafe := [record.name for record in files if not is_file_name(record.name)]:
            raise DamagedFileError(f"{path} names files outside its folder: {unsafe[:3]}")
        return manifest


def is_file_name(name: str) -> bool:
    """Whether a name is one that a file of a generation may have.

    >>> is_file_name("store/000-0a.parquet"), is_file_name("../elsewhere")
    (True, False)
    """
    return bool(_FILE_NAME.fullmatch(name))
