"""What is known of items without users, as one vector: modalities, categories, numbers.

The behaviour of an item that nobody has touched is predicted from this.
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from indexing.encoders.base import unit
from indexing.errors import DamagedFileError
from indexing.fusion import ModalityVectors
from indexing.types import Modality, Vectors

DESCRIPTION = "description.safetensors"
MOST_VALUES, FEWEST_ITEMS = 500, 2
BUMPS = 14
# Pictures and sounds say less of taste than texts (chosen on hidden films of MovieLens): less is learned from them.
SHARES = {Modality.TEXT: 1.0}
OTHER_SHARE = 0.5


@dataclass(frozen=True)
class Categories:
    """A column whose values, one or several an item, are each a direction; the line has length 1.

    Attributes:
        column: Of the attributes.
        values: Those that several items have.
    """

    column: str
    values: tuple[str, ...]

    @classmethod
    def of(cls, column: str, lines: list[tuple[str, ...]]) -> "Categories | None":
        """Find the values that several items have, the most common ones; None when these are too few or many."""
        counts = Counter(value for line in lines for value in line if value)
        values = sorted(value for value, count in counts.most_common(MOST_VALUES) if count >= FEWEST_ITEMS)
        return cls(column, tuple(values)) if 1 < len(values) <= len(lines) // 2 else None

    def lines(self, column: pa.ChunkedArray) -> Vectors:
        """Give (N, V) float32."""
        place = {value: number for number, value in enumerate(self.values)}
        found = np.zeros((len(column), len(place)), np.float32)
        for row, values in enumerate(several(column)):
            found[row, [place[value] for value in values if value in place]] = 1.0
        return unit(found)


@dataclass(frozen=True)
class Numbers:
    """A column of numbers, each a bump over evenly spaced centres, so that what is near in number is near here.

    Attributes:
        column: Of the attributes.
        centres: Rising.
    """

    column: str
    centres: tuple[float, ...]

    @classmethod
    def of(cls, column: str, values: NDArray[np.float64]) -> "Numbers | None":
        """Space the centres over all but the outermost hundredth; None when there is no room for them."""
        known = values[np.isfinite(values)]
        if not len(known):
            return None
        low, high = np.quantile(known, [0.01, 0.99]).tolist()
        return cls(column, tuple(np.linspace(low, high, BUMPS).tolist())) if high > low else None

    def lines(self, column: pa.ChunkedArray) -> Vectors:
        """Give (N, C) float32; zero where there is no number."""
        values = numbers(column)
        centres = np.array(self.centres)
        span = 0.8 * (centres[1] - centres[0])
        apart = (np.clip(values, centres[0], centres[-1])[:, None] - centres) / span
        bumps: Vectors = np.nan_to_num(np.exp(-(apart**2))).astype(np.float32)
        return bumps


@dataclass(frozen=True, eq=False)
class Description:
    """How items are described; learned once, then the same for those that come later.

    Attributes:
        means: For each modality (D,) float32, the mean of its unit vectors, which is taken from each.
        columns: The attributes that describe.
    """

    means: Mapping[Modality, Vectors]
    columns: tuple[Categories | Numbers, ...]

    @classmethod
    def learn(cls, frozen: ModalityVectors, attributes: pa.Table, but: Collection[str] = ()) -> "Description":
        """Learn how the items of a catalogue are described.

        Args:
            frozen: Their frozen vectors.
            attributes: Their attributes, one line an item.
            but: Columns that are no attributes, as the id and texts that were embedded.
        """
        there = [m for m in Modality if m in frozen.modalities]  # in an order that is the same when it is read again
        means = {m: unit(frozen.vectors[m][frozen.exists[m]]).mean(axis=0) for m in there}
        columns = (_column(name, attributes[name]) for name in attributes.column_names if name not in but)
        return cls(means, tuple(column for column in columns if column is not None))

    def of(self, frozen: ModalityVectors, attributes: pa.Table) -> Vectors:
        """Describe N items: (N, F) float32, zero where nothing is known."""
        parts = []
        for modality, mean in self.means.items():
            vectors = unit(frozen.vectors[modality]) - mean
            there = frozen.exists[modality][:, None]
            parts.append(SHARES.get(modality, OTHER_SHARE) * unit(vectors * there))
        for one in self.columns:
            column = attributes[one.column] if one.column in attributes.column_names else pa.nulls(len(attributes))
            parts.append(one.lines(pa.chunked_array(column) if isinstance(column, pa.Array) else column))
        return np.concatenate([np.zeros((len(attributes), 0), np.float32), *parts], axis=1)

    def to_bytes(self) -> bytes:
        """Give everything as safetensors."""
        columns = [
            {"column": one.column, "values": one.values}
            if isinstance(one, Categories)
            else {"column": one.column, "centres": one.centres}
            for one in self.columns
        ]
        told = np.frombuffer(json.dumps(columns).encode(), np.uint8)
        return save({"columns": told, **{f"mean.{modality}": mean for modality, mean in self.means.items()}})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Description":
        """Read what `to_bytes` gave.

        Raises:
            DamagedFileError: When it is something else.
        """
        try:
            tensors = load(data)
            told: list[dict[str, Any]] = json.loads(tensors.pop("columns").tobytes())
            means = {Modality(name.removeprefix("mean.")): mean for name, mean in tensors.items()}
            return cls({m: means[m] for m in Modality if m in means}, tuple(map(_read, told)))
        except (KeyError, ValueError, SafetensorError) as error:
            raise DamagedFileError(f"how items are described cannot be read ({error}); learn again") from error


def _read(told: dict[str, Any]) -> Categories | Numbers:
    if "values" in told:
        return Categories(told["column"], tuple(told["values"]))
    return Numbers(told["column"], tuple(told["centres"]))


def _column(name: str, column: pa.ChunkedArray) -> Categories | Numbers | None:
    kind = column.type
    if pt.is_integer(kind) or pt.is_floating(kind) or pt.is_boolean(kind) or pt.is_date(kind) or pt.is_timestamp(kind):
        return Numbers.of(name, numbers(column))
    if pt.is_string(kind) or pt.is_large_string(kind) or pt.is_dictionary(kind) or pt.is_list(kind):
        return Categories.of(name, several(column))
    return None


def several(column: pa.ChunkedArray) -> list[tuple[str, ...]]:
    """Give the values of each line: those of a list, or of a string what stands between ``|``."""
    lines = column.to_pylist()
    return [
        tuple(dict.fromkeys(str(value) for value in (line.split("|") if isinstance(line, str) else line or ())))
        for line in lines
    ]


def numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Give (N,) float64, NaN where there is none."""
    if pt.is_date(column.type) or pt.is_timestamp(column.type):
        column = pc.cast(pc.cast(column, pa.timestamp("s"), safe=False), pa.int64())
    elif pt.is_boolean(column.type):
        column = pc.cast(column, pa.int8())
    cast = pc.cast(column, pa.float64(), safe=False)
    found: NDArray[np.float64] = cast.to_numpy().astype(np.float64)
    return found
