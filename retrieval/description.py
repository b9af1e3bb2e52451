"""What is known of items without users, as one vector: modalities, categories, numbers.

The behaviour of an item that nobody has touched is predicted from this.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import load, save

from indexing.encoders.base import unit
from indexing.errors import DamagedFileError
from indexing.fusion import ModalityVectors
from indexing.types import Modality, Vectors
from retrieval.attribute_columns import AttributeColumn, columns_of, lines_of, read_column

DESCRIPTION = "description.safetensors"
# Pictures and sounds say less of taste than texts (chosen on hidden films of MovieLens): less is learned from them.
SHARES = {Modality.TEXT: 1.0}
OTHER_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Description:
    """How items are described; learned once, then the same for those that come later.

    Attributes:
        means: For each modality (D,) float32, the mean of its unit vectors, which is taken from each.
        columns: The attributes that describe.
    """

    means: Mapping[Modality, Vectors]
    columns: tuple[AttributeColumn, ...]

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
        return cls(means, columns_of(attributes, but))

    def of(self, frozen: ModalityVectors, attributes: pa.Table) -> Vectors:
        """Describe N items: (N, F) float32, zero where nothing is known."""
        parts = []
        for modality, mean in self.means.items():
            vectors = unit(frozen.vectors[modality]) - mean
            there = frozen.exists[modality][:, None]
            parts.append(SHARES.get(modality, OTHER_SHARE) * unit(vectors * there))
        parts += lines_of(self.columns, attributes)
        return np.concatenate([np.zeros((len(attributes), 0), np.float32), *parts], axis=1)

    def to_bytes(self) -> bytes:
        """Give everything as safetensors."""
        told = np.frombuffer(json.dumps([one.told() for one in self.columns]).encode(), np.uint8)
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
            return cls({m: means[m] for m in Modality if m in means}, tuple(map(read_column, told)))
        except (KeyError, ValueError, SafetensorError) as error:
            raise DamagedFileError(f"how items are described cannot be read ({error}); learn again") from error
