"""The profile model: the behaviour query of a user without a history, from the profile."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isinf
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from safetensors.numpy import save

from indexing.arrays import Vectors
from indexing.errors import CommonspaceWarning, DamagedFileError, InputError, examples
from indexing.filesystem.checked_files import finite_tensors, read_as
from indexing.runtime.arguments import check_list, check_mapping
from indexing.runtime.warn import warn
from retrieval.models.features.column_encoders import (
    AttributeColumn,
    Categories,
    Numbers,
    encode_columns,
    numbers,
    read_column,
    split_values,
)
from retrieval.models.features.item_texts import metadata_entry

PROFILES = "profiles.safetensors"
ProfilesLike: TypeAlias = pa.Table | Sequence[Mapping[str, Any]] | Any
"""One row a user: a table, or a mapping from attribute to value for each; a missing attribute is unknown.

Verbs take `Profiles`, too.
"""


class ProfileWarning(CommonspaceWarning):
    """A profile has a value that nothing was learned of."""


@dataclass(frozen=True, eq=False)
class ProfileModel:
    """A linear map from a profile to a query for behaviour.

    Attributes:
        columns: The attributes of users that it reads.
        means: (F,) float32, means of the columns over the training users; they stand for missing values.
        weights: (F, R - 1) float32.
        ignored: Attributes in training that are the same for all users; a profile may have them.
        share: Root mean square length of the queries of the training users; that of popularity is 1.
    """

    columns: tuple[AttributeColumn, ...]
    means: Vectors
    weights: Vectors
    share: float
    ignored: tuple[str, ...] = ()

    def queries(self, profiles: pa.Table) -> Vectors:
        """Give the queries of B users without a history: (B, R) float32, popularity last."""
        features = centred(encode_columns(self.columns, profiles), self.means)
        taste = np.float32(self.share) * (features @ self.weights)
        queries: Vectors = np.pad(taste, ((0, 0), (0, 1)), constant_values=1)
        return queries

    def table(self, profiles: ProfilesLike) -> pa.Table:
        """Give profiles as a table of the attributes that are read.

        Raises:
            InputError: When all of them are missing, one was not in training, or a value cannot be read.
        """
        names = [encoder.column for encoder in self.columns]
        if not isinstance(profiles, pa.Table):
            check_list(profiles, "profiles")
            for user, profile in enumerate(profiles):
                check_mapping(profile, f"profiles[{user}]", "{'age': 31}; an empty one will do")
                if unknown := sorted(set(profile) - {*names, *self.ignored}):
                    raise InputError(
                        f"the profile of user {user} has {unknown}; the profile model was trained on {names}"
                    )
            profiles = pa.table({name: _array(name, [profile.get(name) for profile in profiles]) for name in names})
        if not set(names) & set(profiles.column_names):
            raise InputError(
                f"profiles have the columns {profiles.column_names}; the profile model was trained on {names}"
            )
        encoders = [encoder for encoder in self.columns if encoder.column in profiles.column_names]
        return pa.table({encoder.column: _readable(encoder, profiles[encoder.column]) for encoder in encoders})

    def warn_of_unknown(self, profiles: pa.Table) -> None:
        """Warn of values of profiles, as `table` gives them, that nothing was learned of: they say nothing.

        A number beyond those of training counts as the nearest of these, an infinite one as none.
        """
        for encoder in self.columns:
            if encoder.column not in profiles.column_names:
                continue
            column, known = profiles[encoder.column], "finite numbers"
            if isinstance(encoder, Categories):
                given = dict.fromkeys(value for values in split_values(column) for value in values if value)
                unknown, known = [value for value in given if value not in encoder.values], examples(encoder.values, 10)
            elif isinstance(encoder, Numbers):
                unknown = [str(value) for value in numbers(column).tolist() if isinf(value)]
            else:
                continue
            if unknown:
                warn(
                    f"nothing was learned of {examples(unknown)} of {encoder.column!r} of profiles, only of {known}",
                    ProfileWarning,
                )

    def columns_in(self, schema: pa.Schema) -> list[str]:
        """Give the columns to read from a large table of profiles.

        Raises:
            InputError: When a column of texts was a column of numbers in training.
        """
        encoders = [encoder for encoder in self.columns if encoder.column in schema.names]
        numbers = [encoder.column for encoder in encoders if isinstance(encoder, Numbers)]
        if texts := [name for name in numbers if pt.is_string(schema.field(name).type)]:
            raise InputError(f"the columns {texts} of profiles hold texts; in training they held numbers")
        return [encoder.column for encoder in encoders]

    def to_bytes(self) -> bytes:
        """Serialise as safetensors."""
        columns = [encoder.to_json() for encoder in self.columns]
        metadata = json.dumps({"columns": columns, "share": self.share, "ignored": self.ignored})
        return save({"means": self.means, "weights": np.ascontiguousarray(self.weights)}, {"profiles": metadata})

    @classmethod
    def from_bytes(cls, data: bytes) -> "ProfileModel":
        """Read what `to_bytes` gave.

        Raises:
            DamagedFileError: When it is something else.
        """
        with read_as("the profile model", "fit again, or go back"):
            metadata = metadata_entry(data, "profiles")
            columns, tensors = tuple(map(read_column, metadata["columns"])), finite_tensors(data)
            means, weights, share = tensors["means"], tensors["weights"], float(metadata["share"])
            ignored = tuple(metadata["ignored"])
            width = sum(encoder.width for encoder in columns)
        if means.shape != (width,) or weights.ndim != 2 or len(weights) != width:
            raise DamagedFileError(
                f"the profile model has arrays of shapes {means.shape} and {weights.shape} for {width} features"
            )
        return cls(columns, means, weights, share, ignored)


def centred(encoded: Sequence[Vectors], means: Vectors) -> Vectors:
    """Subtract means, (F,), from the features of B users, (B, F) float32: zero where a value is missing."""
    starts = np.cumsum([values.shape[1] for values in encoded])[:-1]
    parts = [
        np.where(values.any(axis=1, keepdims=True), values - mean, 0)
        for values, mean in zip(encoded, np.split(means, starts), strict=True)
    ]
    features: Vectors = np.concatenate(parts, axis=1).astype(np.float32)
    return features


def _array(name: str, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError) as error:
        raise InputError(f"the attribute {name!r} of profiles has values of several kinds: {error}") from error


def _readable(column: AttributeColumn, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give the values of an attribute as the column reads them: numbers as such, categories as text or lists."""
    dtype = values.type
    if isinstance(column, Numbers):
        if not (pt.is_string(dtype) or pt.is_list(dtype)):
            return values
        target_type = pa.float64()
    elif pt.is_list(dtype) or pt.is_dictionary(dtype):
        return values
    else:
        target_type = pa.string()
    try:
        return pc.cast(values, target_type)
    except (pa.ArrowException, OverflowError) as error:
        raise InputError(f"the attribute {column.column!r} of profiles cannot be read: {error}") from error
