"""What people of a profile like before they have done anything, beside what is popular with all."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from safetensors.numpy import save

from indexing.arrays import Vectors
from indexing.errors import DamagedFileError, InputError
from indexing.filesystem.checked_files import finite_tensors, read_as
from retrieval.features.column_encoders import AttributeColumn, Numbers, lines_of, read_column
from retrieval.features.item_texts import told_in

PROFILES = "profiles.safetensors"
Given: TypeAlias = pa.Table | Sequence[Mapping[str, Any]]
"""One line a user: a table, or what is known of each by name; what is missing is not known."""


@dataclass(frozen=True, eq=False)
class ProfileModel:
    """A linear map from a profile to a query for behaviour.

    Attributes:
        columns: The attributes of users that it reads.
        means: (F,) float32, of what the columns say of those who were learned from; what is not known says as much.
        weights: (F, R - 1) float32.
        ignored: Further attributes that there were, which do not tell users apart; a profile may have them.
        share: Root mean square length of the queries of those who were learned from; popularity asks with 1.
    """

    columns: tuple[AttributeColumn, ...]
    means: Vectors
    weights: Vectors
    share: float
    ignored: tuple[str, ...] = ()

    def queries(self, profiles: pa.Table) -> Vectors:
        """Ask for B users of whom only the profile is known: (B, R) float32, popularity last."""
        described = centred(lines_of(self.columns, profiles), self.means)
        taste = np.float32(self.share) * (described @ self.weights)
        queries: Vectors = np.pad(taste, ((0, 0), (0, 1)), constant_values=1)
        return queries

    def table(self, given: Given) -> pa.Table:
        """Give profiles as a table of the attributes that are read.

        Raises:
            InputError: When nothing is said of any of them, when there is one that nothing was learned from, or a value
                that cannot be read.
        """
        names = [one.column for one in self.columns]
        if not isinstance(given, pa.Table):
            for user, line in enumerate(given):
                if unknown := sorted(set(line) - {*names, *self.ignored}):
                    raise InputError(f"the profile of user {user} has {unknown}; what was learned from is {names}")
            given = pa.table({name: _array(name, [line.get(name) for line in given]) for name in names})
        if not set(names) & set(given.column_names):
            raise InputError(f"profiles have the columns {given.column_names}; what was learned from is {names}")
        there = [one for one in self.columns if one.column in given.column_names]
        return pa.table({one.column: _readable(one, given[one.column]) for one in there})

    def found_in(self, schema: pa.Schema) -> list[str]:
        """Give the columns that are read, of very many lines that come later.

        Raises:
            InputError: When texts stand where numbers should: one of them, met late, would end all.
        """
        there = [one for one in self.columns if one.column in schema.names]
        numbers = [one.column for one in there if isinstance(one, Numbers)]
        if texts := [name for name in numbers if pt.is_string(schema.field(name).type)]:
            raise InputError(f"the columns {texts} of profiles hold texts; what was learned from them were numbers")
        return [one.column for one in there]

    def to_bytes(self) -> bytes:
        """Give everything as safetensors."""
        columns = [one.told() for one in self.columns]
        told = json.dumps({"columns": columns, "share": self.share, "ignored": self.ignored})
        return save({"means": self.means, "weights": np.ascontiguousarray(self.weights)}, {"profiles": told})

    @classmethod
    def from_bytes(cls, data: bytes) -> "ProfileModel":
        """Read what `to_bytes` gave.

        Raises:
            DamagedFileError: When it is something else.
        """
        with read_as("what profiles say", "fit again, or go back"):
            told = told_in(data, "profiles")
            columns, tensors = tuple(map(read_column, told["columns"])), finite_tensors(data)
            means, weights, share = tensors["means"], tensors["weights"], float(told["share"])
            ignored = tuple(told["ignored"])
            width = sum(one.width for one in columns)
        if means.shape != (width,) or weights.ndim != 2 or len(weights) != width:
            raise DamagedFileError(
                f"what profiles say has shapes {means.shape} and {weights.shape} for {width} numbers"
            )
        return cls(columns, means, weights, share, ignored)


def centred(lines: Sequence[Vectors], means: Vectors) -> Vectors:
    """Take means, (F,), from what columns say of B users, (B, F) float32: zero where nothing is known."""
    starts = np.cumsum([line.shape[1] for line in lines])[:-1]
    parts = [
        np.where(line.any(axis=1, keepdims=True), line - mean, 0)
        for line, mean in zip(lines, np.split(means, starts), strict=True)
    ]
    made: Vectors = np.concatenate(parts, axis=1).astype(np.float32)
    return made


def _array(name: str, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except pa.ArrowException as error:
        raise InputError(f"the attribute {name!r} of profiles has values of several kinds: {error}") from error


def _readable(column: AttributeColumn, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give the values of an attribute as the column reads them: numbers as such, categories as text or lists."""
    kind = values.type
    if isinstance(column, Numbers):
        if not (pt.is_string(kind) or pt.is_list(kind)):
            return values
        wanted = pa.float64()
    elif pt.is_list(kind) or pt.is_dictionary(kind):
        return values
    else:
        wanted = pa.string()
    try:
        return pc.cast(values, wanted)
    except pa.ArrowException as error:
        raise InputError(f"the attribute {column.column!r} of profiles cannot be read: {error}") from error
