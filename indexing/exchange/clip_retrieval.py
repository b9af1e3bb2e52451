"""The folders that clip-retrieval's inference writes and its index reads.

img_emb/img_emb_0.npy            (n, D) float16, one file a partition
text_emb/text_emb_0.npy          the same for texts
metadata/metadata_0.parquet      n lines: image_path, caption, …

Row i of every file of a partition is the same item. There is no place for a missing picture or text.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from indexing.arrays import Mask, Vectors
from indexing.bundle.bundle import Bundle
from indexing.catalogue.arrow_values import python_rows, python_values
from indexing.catalogue.cleaning import clean_item_id, clean_text
from indexing.catalogue.item_ids import ItemIds
from indexing.catalogue.vectors import half_units
from indexing.errors import CatalogueError, InputError, SeparateSpacesError, examples
from indexing.exchange.array_files import Embedded, new_folder, read_array, read_parquet, write_array
from indexing.filesystem import fsops
from indexing.media.files import Modality
from indexing.store.collect import ModalityVectors
from indexing.store.store import parquet_bytes

FOLDERS = {Modality.IMAGE: "img_emb", Modality.TEXT: "text_emb"}
METADATA = "metadata"
PARTITION_ROWS = 100_000
ID_NAMES = ("item_id", "image_path")


@dataclass(frozen=True)
class ClipRetrievalReport:
    """What was written.

    Attributes:
        items: Rows of all partitions.
        partitions: Files of each kind.
        dim: Length of the vectors.
        written: The modalities.
        zeros: For each modality that some items lack, how many rows are zero; the metadata have a column
            ``has_image`` or ``has_text`` for it.
        left_out: Modalities that this layout has no place for.
    """

    items: int
    partitions: int
    dim: int
    written: tuple[str, ...]
    zeros: Mapping[str, int]
    left_out: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


def read_clip_retrieval(folder: Path | str, *, item_id: str | None = None) -> Embedded:
    """Read vectors and metadata.

    A row of zeros, or one whose ``has_image`` or ``has_text`` is false, is a missing modality.

    Args:
        folder: What holds ``metadata`` and ``img_emb`` or ``text_emb``.
        item_id: Column of the metadata with the item_ids; ``item_id`` or else ``image_path`` when None.

    Raises:
        CatalogueError: When a partition is missing, files do not fit each other, or vectors are not finite.
        InputError: When item_ids are unusable or appear twice.
    """
    folder = Path(folder)
    tables = [read_parquet(path) for path in _partitions(folder, METADATA, ".parquet")]
    counts = [len(table) for table in tables]
    try:
        metadata = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise CatalogueError(f"the partitions of {folder / METADATA} have columns that do not fit: {error}") from error
    raw = {m: _read_vectors(folder, name, counts) for m, name in FOLDERS.items() if (folder / name).is_dir()}
    if not raw:
        raise CatalogueError(f"{folder} holds neither {' nor '.join(FOLDERS.values())}; name the folder above them")
    if len({vectors.shape[1] for vectors in raw.values()}) > 1:
        lengths = ", ".join(f"{FOLDERS[m]} {vectors.shape[1]}" for m, vectors in raw.items())
        raise CatalogueError(f"{folder} holds vectors of several lengths: {lengths}; they are different spaces")
    exists = {m: _exists(vectors, m, metadata) for m, vectors in raw.items()}
    halves = {m: np.zeros(vectors.shape, np.float16) for m, vectors in raw.items()}
    for m, vectors in raw.items():
        halves[m][exists[m]] = half_units(vectors[exists[m]])
    item_ids = _item_ids(metadata, item_id, folder)
    other_columns = metadata.select([name for name in metadata.column_names if name != "item_id"])
    attributes = other_columns.add_column(0, "item_id", pa.array(item_ids, pa.string()))
    return Embedded(item_ids, ModalityVectors(halves, exists), attributes)


def _partitions(folder: Path, name: str, suffix: str) -> list[Path]:
    """Return the files of one kind by number: their names do not sort so (metadata_10 comes before metadata_2)."""
    matches = {path: re.fullmatch(rf"{name}_(\d+){re.escape(suffix)}", path.name) for path in (folder / name).glob("*")}
    numbered = sorted((int(match[1]), path) for path, match in matches.items() if match)
    if not numbered:
        raise CatalogueError(f"{folder / name} holds no {name}_0{suffix}; is this a folder of clip-retrieval?")
    numbers = [number for number, _ in numbered]
    if numbers != list(range(len(numbers))):
        missing = sorted(set(range(max(numbers) + 1)) - set(numbers))
        problem = f"lacks partitions {examples(missing)}" if missing else f"has a partition twice among {numbers[:12]}"
        raise CatalogueError(f"{folder / name} {problem}; rows would not match, write it again")
    return [path for _, path in numbered]


def _read_vectors(folder: Path, name: str, counts: list[int]) -> Vectors:
    paths = _partitions(folder, name, ".npy")
    if len(paths) != len(counts):
        raise CatalogueError(f"{folder} has {len(counts)} partitions of metadata and {len(paths)} of {name}")
    parts = [read_array(path) for path in paths]
    for path, part, count in zip(paths, parts, counts, strict=True):
        if len(part) != count:
            raise CatalogueError(f"{path} has {len(part)} rows and its metadata {count}; rows would not match")
        if part.shape[1] != parts[0].shape[1]:
            raise CatalogueError(f"{path} holds vectors of {part.shape[1]} numbers, {paths[0]} of {parts[0].shape[1]}")
    return np.concatenate(parts)


def _exists(vectors: Vectors, modality: Modality, metadata: pa.Table) -> Mask:
    exists: Mask = np.asarray(vectors.any(axis=1), np.bool_)
    if (name := f"has_{modality}") in metadata.column_names and pa.types.is_boolean(metadata.schema.field(name).type):
        exists &= metadata[name].fill_null(False).to_numpy()
    return exists


def _item_ids(metadata: pa.Table, name: str | None, folder: Path) -> ItemIds:
    name = name or next((name for name in ID_NAMES if name in metadata.column_names), None)
    if name not in metadata.column_names:
        raise CatalogueError(
            f"{folder / METADATA} has no column {name or ' or '.join(ID_NAMES)}; name one of "
            f"{metadata.column_names} with `item_id`"
        )
    values = python_values(metadata[name])
    cleaned = [clean_item_id(value, Counter()) for value in values]
    if unusable := [value for value, (_, problem) in zip(values, cleaned, strict=True) if problem]:
        raise InputError(
            f"{len(unusable)} values of {name} are no item_ids, e.g. {examples(unusable)}; name another column"
        )
    return ItemIds(item_id or "" for item_id, _ in cleaned)


def write_clip_retrieval(bundle: Bundle, folder: Path | str, *, rows: int = PARTITION_ROWS) -> ClipRetrievalReport:
    """Write the frozen vectors of a bundle, which are those before fusion and learning.

    Args:
        bundle: The generation.
        folder: Where to; it must not exist or be empty.
        rows: Items a partition.

    Raises:
        InputError: When the folder is taken or ``rows`` is not positive.
        SeparateSpacesError: When texts and pictures are in different spaces, which that layout does not know of.
    """
    if bundle.manifest.encoder.separate:
        raise SeparateSpacesError(
            f"{bundle.root} has modalities of different spaces, but whoever reads this layout compares texts with "
            "pictures; export it as mmrec or faiss"
        )
    if rows < 1:
        raise InputError(f"partitions of {rows} rows cannot be made; give at least 1")
    frozen, count = bundle.require_compacted().modality_vectors, len(bundle.items)
    written = [m for m in FOLDERS if m in frozen.modalities]
    if not written:
        raise InputError(f"{bundle.root} holds only {', '.join(frozen.modalities)}: this layout has no place for it")
    zeros = {m: missing for m in written if (missing := int(count - frozen.exists[m].sum()))}
    metadata = _metadata(bundle)
    for m in zeros:
        metadata = _with_column(metadata, f"has_{m}", pa.array(frozen.exists[m]))
    starts = range(0, count, rows)
    width = len(str(len(starts) - 1))
    with new_folder(folder) as unfinished:
        fsops.make_folder(unfinished / METADATA)
        for number, start in enumerate(starts):
            for m in written:
                part = frozen.vectors[m][start : start + rows]
                write_array(unfinished / FOLDERS[m] / f"{FOLDERS[m]}_{number:0{width}d}.npy", part)
            path = unfinished / METADATA / f"{METADATA}_{number:0{width}d}.parquet"
            fsops.write_bytes(path, parquet_bytes(metadata.slice(start, rows)))
    return ClipRetrievalReport(
        items=count,
        partitions=len(starts),
        dim=bundle.manifest.encoder.dim,
        written=tuple(str(m) for m in written),
        zeros={str(m): missing for m, missing in zeros.items()},
        left_out=tuple(str(m) for m in frozen.modalities if m not in FOLDERS),
    )


def _metadata(bundle: Bundle) -> pa.Table:
    """Return the attributes with the two columns that clip-retrieval shows, unless they have them."""
    table = bundle.attributes
    texts = [name for name in bundle.manifest.columns.get("text") or () if name in table.column_names]
    captions = [clean_text(list(row.values()), Counter()) for row in python_rows(table.select(texts))] if texts else []
    if "caption" not in table.column_names:
        table = table.append_column("caption", pa.array(captions or [None] * len(table), pa.string()))
    if "image_path" not in table.column_names:
        table = table.append_column("image_path", table["item_id"])
    return table


def _with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    kept = table.select([column for column in table.column_names if column != name])
    return kept.append_column(name, values)
