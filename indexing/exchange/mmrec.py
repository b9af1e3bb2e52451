"""The data set layout of MMRec: interactions and one file of features a modality.

NAME.inter             tab-separated: userID itemID rating timestamp x_label (0 train, 1 valid, 2 test)
text_feat.npy          (N, D) float32, row = itemID
image_feat.npy         the same for pictures; the dimensions may differ
i_id_mapping.csv       tab-separated: item_id itemID
u_id_mapping.csv       tab-separated: user_id userID

MMRec takes the largest itemID for the number of items, so only items with interactions are written. It has no mask: a
missing modality is a row of zeros.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors, unit
from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import BRIDGE
from indexing.catalogue.item_ids import ItemIds
from indexing.encoders.alignment.separate_spaces import Spaces
from indexing.errors import CatalogueError, InputError, examples
from indexing.exchange.array_files import new_folder, read_array, write_array
from indexing.filesystem import fsops
from indexing.media.files import Modality, no_file

FEATURES = {Modality.TEXT: "text_feat.npy", Modality.IMAGE: "image_feat.npy"}
ITEM_MAPPING, USER_MAPPING = "i_id_mapping.csv", "u_id_mapping.csv"
SPLITS = ("train", "valid", "test")
COLUMNS = ("userID", "itemID", "rating", "timestamp", "x_label")
LOG = ("user_id", "item_id", "timestamp", "weight")
MIN_SPLIT_LENGTH = 3
HELD_OUT_DIVISOR = 10  # one in so many to valid, and as many to test


@dataclass(frozen=True)
class MmrecReport:
    """What was written.

    Attributes:
        users: Users in the log.
        items: Items with interactions, which are the rows of the features.
        interactions: Rows in train, valid and test.
        zeros: For each modality how many rows are zero, because the item lacks it.
        items_left_out: Items of the bundle without interactions.
        unknown: Interactions with items that are not in the bundle.
    """

    users: int
    items: int
    interactions: Mapping[str, int]
    zeros: Mapping[str, int]
    items_left_out: int
    unknown: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


class MmrecData(NamedTuple):
    """What was read.

    Attributes:
        item_ids: N ids in the order of itemID.
        vectors: For each modality (N, D_m) float32, zero where an item lacks it.
        interactions: user_id, item_id, rating, timestamp as far as there, and split (train, valid or test), in the
            order of the file; `retrieval.Interactions.from_arrow` reads it.
    """

    item_ids: ItemIds
    vectors: Mapping[Modality, Vectors]
    interactions: pa.Table


def write_mmrec(bundle: Bundle, interactions: pa.Table, folder: Path | str, *, name: str) -> MmrecReport:
    """Write the frozen vectors of a bundle and a log of interactions.

    Each user's interactions are cut in time: the last tenth is test, the tenth before valid, at least one each; users
    with fewer than three are train only.

    Args:
        bundle: The generation.
        interactions: ``user_id: string, item_id: string, timestamp: int64, weight: float``, as in
            `retrieval.Interactions.table`.
        folder: Where to; it must not exist or be empty.
        name: Of the data set.

    Raises:
        InputError: When the folder is taken, the name is no file name, a column is missing, or no interaction is with
            an item of the bundle.
    """
    if not name.replace("-", "").replace("_", "").isalnum():
        raise InputError(f"{name!r} cannot name the files of a data set; use letters, digits, - and _")
    if missing := [column for column in LOG if column not in interactions.column_names]:
        raise InputError(f"the interactions lack columns {missing}; read the log with retrieval.Interactions")
    row_of = {item_id: row for row, item_id in enumerate(bundle.require_compacted().items)}
    bundle_rows = np.array([row_of.get(item_id, -1) for item_id in interactions["item_id"].to_pylist()], np.int64)
    known = bundle_rows >= 0
    if not known.any():
        raise InputError(
            f"none of the {len(bundle_rows)} interactions is with an item of {bundle.root}; check their ids"
        )
    rows, items = np.unique(bundle_rows[known], return_inverse=True)
    log = interactions.filter(pa.array(known))
    user_ids, users = np.unique(np.array(log["user_id"].to_pylist(), object), return_inverse=True)
    times = log["timestamp"].to_numpy()
    labels = split_by_time(users, times)
    frozen = bundle.modality_vectors.take(rows)
    spaces = Spaces.from_bytes(bundle.read(BRIDGE)) if bundle.manifest.encoder.separate else None
    zeros = {}
    with new_folder(folder) as unfinished:
        for modality in (modality for modality in FEATURES if modality in frozen.modalities):
            vectors, exists = unit(frozen.vectors[modality]), frozen.exists[modality]
            zeros[str(modality)] = int(len(exists) - exists.sum())
            columns = spaces.part(modality) if spaces else slice(None)
            write_array(unfinished / FEATURES[modality], vectors[:, columns] * exists[:, None])
        lines = zip(users, items, log["weight"].to_pylist(), times, labels, strict=True)
        _write_tsv(unfinished / f"{name}.inter", COLUMNS, lines)
        ids = [bundle.items[row] for row in rows]
        _write_tsv(unfinished / ITEM_MAPPING, ("item_id", "itemID"), zip(ids, range(len(ids)), strict=True))
        _write_tsv(unfinished / USER_MAPPING, ("user_id", "userID"), zip(user_ids, range(len(user_ids)), strict=True))
    counts = dict(zip(SPLITS, np.bincount(labels, minlength=len(SPLITS)).tolist(), strict=True))
    return MmrecReport(len(user_ids), len(rows), counts, zeros, len(bundle.items) - len(rows), int((~known).sum()))


def split_by_time(users: Rows, times: NDArray[np.int64]) -> Rows:
    """Cut each user's interactions in time: (n,) int64, 0 for train, 1 for valid, 2 for test.

    >>> split_by_time(np.array([7, 7, 7, 9]), np.array([3, 1, 2, 5])).tolist()
    [2, 0, 1, 0]

    Args:
        users: (n,) int64.
        times: (n,) int64; those of the same time keep their order.
    """
    labels = np.zeros(len(users), np.int64)
    order = np.lexsort((times, users))
    ends = np.flatnonzero(np.diff(users[order])) + 1
    for user_rows in np.split(order, ends):
        if len(user_rows) >= MIN_SPLIT_LENGTH:
            num_held_out = max(1, len(user_rows) // HELD_OUT_DIVISOR)
            labels[user_rows[-2 * num_held_out : -num_held_out]] = 1
            labels[user_rows[-num_held_out:]] = 2
    return labels


def read_mmrec(folder: Path | str) -> MmrecData:
    """Read a data set; without the two mappings the ids are the numbers as strings.

    Raises:
        CatalogueError: When files are missing, do not fit each other, or hold what cannot be read.
    """
    folder = Path(folder)
    inter_files = sorted(folder.glob("*.inter"))
    if len(inter_files) != 1:
        raise CatalogueError(
            f"{folder} holds {len(inter_files)} .inter files, expected one; name the folder of one data set"
        )
    header, lines = _read_tsv(inter_files[0])
    if missing := [column for column in ("userID", "itemID", "x_label") if column not in header]:
        raise CatalogueError(f"{inter_files[0]} lacks columns {missing}; it has {header}")
    columns = {name: [line[position] for line in lines] for position, name in enumerate(header)}
    users, items, labels = (_integers(columns[name], name, inter_files[0]) for name in ("userID", "itemID", "x_label"))
    if unknown_labels := sorted(set(labels.tolist()) - set(range(len(SPLITS)))):
        raise CatalogueError(f"{inter_files[0]} has x_label {examples(unknown_labels)}, expected 0, 1 or 2")
    vectors = {m: read_array(folder / file) for m, file in FEATURES.items() if (folder / file).exists()}
    count = max([int(items.max()) + 1, *(len(array) for array in vectors.values())])
    item_ids = ItemIds(_mapping(folder / ITEM_MAPPING, count))
    if misfits := {FEATURES[m]: len(array) for m, array in vectors.items() if len(array) != len(item_ids)}:
        raise CatalogueError(f"{folder} has {len(item_ids)} items, but rows of {misfits}; row must be itemID")
    user_ids = _mapping(folder / USER_MAPPING, int(users.max()) + 1)
    for column, numbers, ids in (("itemID", items, item_ids), ("userID", users, user_ids)):
        if numbers.max() >= len(ids):
            raise CatalogueError(f"{inter_files[0]} has {column} {numbers.max()}, its mapping only {len(ids)} of them")
    table: dict[str, pa.Array] = {
        "user_id": pa.array([user_ids[user] for user in users], pa.string()),
        "item_id": pa.array([item_ids[item] for item in items], pa.string()),
    }
    table |= {name: _floats(columns[name], name, inter_files[0]) for name in ("rating", "timestamp") if name in columns}
    table["split"] = pa.array([SPLITS[label] for label in labels], pa.string())
    return MmrecData(item_ids, vectors, pa.table(table))


def _mapping(path: Path, count: int) -> list[str]:
    """Return the ids in the order of their numbers; the numbers themselves when there is no such file."""
    if not path.exists():
        return [str(number) for number in range(count)]
    _, lines = _read_tsv(path)
    numbers = _integers([line[1] for line in lines if len(line) > 1], "numbers", path)
    if sorted(numbers.tolist()) != list(range(len(lines))):
        raise CatalogueError(f"{path} does not number its {len(lines)} lines from 0 to {len(lines) - 1}, each once")
    return [lines[position][0] for position in np.argsort(numbers)]


def _integers(values: Sequence[str], name: str, path: Path) -> Rows:
    try:
        numbers = np.array([int(value) for value in values], np.int64)
    except (ValueError, OverflowError) as error:
        raise CatalogueError(f"{path} has {name} that are no whole numbers: {error}") from error
    if not len(numbers) or numbers.min() < 0:
        raise CatalogueError(f"{path} has no {name}, or negative ones; they count from 0")
    return numbers


def _floats(values: Sequence[str], name: str, path: Path) -> pa.Array:
    try:
        numbers = np.array([float(value) for value in values])
    except ValueError as error:
        raise CatalogueError(f"{path} has {name} that are no numbers: {error}") from error
    return pa.array(numbers.astype(np.int64) if name == "timestamp" and np.isfinite(numbers).all() else numbers)


def _write_tsv(path: Path, header: Sequence[str], lines: Any) -> None:  # noqa: ANN401 - any rows of plain values
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    fsops.write_bytes(path, text.getvalue().encode())


def _read_tsv(path: Path) -> tuple[list[str], list[list[str]]]:
    if problem := no_file(path):
        raise CatalogueError(problem)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CatalogueError(f"{path} cannot be read as tab-separated text: {error}") from error
    if len(lines) < 2:
        raise CatalogueError(f"{path} has no rows below its header")
    if ragged := [number for number, line in enumerate(lines, 1) if len(line) != len(lines[0])]:
        raise CatalogueError(f"{path} has lines of another width than its header: {examples(ragged)}")
    return lines[0], lines[1:]
