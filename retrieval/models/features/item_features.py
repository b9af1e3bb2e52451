"""Features of items that need no users: modalities, categories, numbers, words and counts.

The behaviour of new items is predicted from them. The last columns are additive: numbers once more, with a finer
encoding, and vectors of single text columns. Their effect, and that of words, is added to the kernel of all others
(Hastie and Tibshirani, "Generalized Additive Models", 1990). So which of two years sells better is learned from all
items of these years, not from similar items alone.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray
from safetensors.numpy import save

from indexing.arrays import Mask, Rows, Vectors, unit
from indexing.catalogue.columns import VECTOR
from indexing.filesystem.checked_files import finite_tensors, read_as
from indexing.media.files import Modality
from indexing.store.collect import ModalityVectors
from indexing.store.lazy_rows import ComputedRows, LazyRows, as_vectors, fits_in_memory
from retrieval.models.features.column_encoders import (
    AttributeColumn,
    Categories,
    Embedded,
    Numbers,
    column_of,
    columns_of,
    read_column,
    split_values,
)
from retrieval.models.features.tfidf import SparseRows, Words, texts_of


@dataclass(frozen=True, eq=False)
class FeatureMatrix:
    """The features of N items.

    Attributes:
        values: (N, F) float32, zero for missing values.
        additive: Number of last columns that are additive.
        words: Tf-idf of the words of their texts, additive too; None without.
        untrained: (F,) bool, columns that are no inputs of the trained tower, which orders known items worse with them;
            None when all are.
    """

    values: Vectors
    additive: int = 0
    words: SparseRows | None = None
    untrained: Mask | None = None

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Rows | slice) -> "FeatureMatrix":
        """Keep some of the items."""
        return replace(self, values=self.values[rows], words=self.words.take(rows) if self.words else None)

    @property
    def trained(self) -> Vectors:
        """The columns that are inputs of the trained tower."""
        return self.values if self.untrained is None or not self.untrained.any() else self.values[:, ~self.untrained]

    @property
    def joint(self) -> Vectors:
        """The columns of the RBF kernel: (N, F - additive) float32."""
        return self.values[:, : self.values.shape[1] - self.additive]

    @property
    def additive_values(self) -> Vectors:
        """The additive columns: (N, additive) float32."""
        return self.values[:, self.values.shape[1] - self.additive :]

    def kernel(self, other: "FeatureMatrix", gamma: float) -> Vectors:
        """Give the kernel between these items and M others, words left out: (N, M) float32.

        It is the RBF kernel ``exp(-gamma * squared distance)``, plus the inner product of the additive columns.
        """
        mine, theirs = self.joint, other.joint
        kernel: Vectors = mine @ theirs.T  # in place from here on: it is large
        kernel *= -2
        kernel += np.sum(mine**2, axis=1)[:, None]
        kernel += np.sum(theirs**2, axis=1)
        np.maximum(kernel, 0, out=kernel)
        kernel *= -np.float32(gamma)
        np.exp(kernel, out=kernel)
        if self.additive:
            kernel += self.additive_values @ other.additive_values.T
        return kernel


DESCRIPTION = "description.safetensors"
_BLOCK = 8_192  # rows at once
# Factors on the features. Images and audio predict taste less than texts (selected on held-out films of MovieLens).
SHARES = {Modality.TEXT: 1.0}
OTHER_SHARE = 0.5
# Of numbers, in the kernel and additive (selected there too).
NUMBERS_SHARE, FINER_SHARE = 0.6, 0.3
# Of further vectors, such as those of a second image; and additive, of vectors of single texts and of words.
FURTHER_SHARE, TEXT_SHARE, WORDS_SHARE = 0.35, 0.45, 0.5


class _Part(NamedTuple):
    values: Vectors
    untrained: bool = False


@dataclass(frozen=True, eq=False)
class ItemFeatures:
    """Computes the features of items: fitted on a catalogue, then applied to new items too.

    Attributes:
        means: For each modality (D,) float32, the mean of its unit vectors, which is subtracted.
        columns: Encoders of the attributes.
        texts: Embedded text columns; their lengths and words are features beside their vectors.
        amounts: Encoders of counts; see `count_features`.
        words: Tf-idf of these texts; not in earlier versions.
    """

    means: Mapping[Modality, Vectors]
    columns: tuple[AttributeColumn, ...]
    texts: tuple[str, ...] = ()
    amounts: tuple[AttributeColumn, ...] = ()
    words: Words | None = None

    @classmethod
    def fit(
        cls,
        frozen: ModalityVectors,
        attributes: pa.Table,
        exclude: Collection[str] = (),
        texts: Sequence[str] = (),
    ) -> "ItemFeatures":
        """Fit the features of a catalogue.

        Args:
            frozen: Their frozen vectors.
            attributes: Their attributes, one row an item. Vectors are attributes too; ``title_vector`` holds the
                vectors of the text column ``title``.
            exclude: Columns that are no attributes, such as the id.
            texts: Columns of texts that were embedded, which are no attributes either.
        """
        modalities = [m for m in Modality if m in frozen.modalities]  # the order of `from_bytes`
        means = {m: _mean_of_units(frozen.vectors[m], np.flatnonzero(frozen.exists[m])) for m in modalities}
        columns = columns_of(attributes, {*exclude, *texts})
        amounts = columns_of(count_features(columns, texts, attributes))
        return cls(means, columns, tuple(texts), amounts, Words.fit(texts_of(attributes, texts)))

    def of(self, frozen: ModalityVectors, attributes: pa.Table) -> FeatureMatrix:
        """Give the features of N items."""
        joint, separate = [_Part(np.zeros((len(attributes), 0), np.float32))], []
        for modality, mean in self.means.items():
            joint.append(_Part(_unit_deviations(frozen, modality, mean, SHARES.get(modality, OTHER_SHARE))))
        counts = count_features(self.columns, self.texts, attributes)
        encoders = [(encoder, column_of(attributes, encoder.column)) for encoder in self.columns]
        encoders += [(encoder, column_of(counts, encoder.column)) for encoder in self.amounts]
        for encoder, column in encoders:
            weight, separate_weight = self._shares(encoder)
            untrained = isinstance(encoder, Embedded)
            if weight:
                joint.append(_Part(weight * encoder.encode(column), untrained))
            if separate_weight:
                finer = encoder.encode_quantiles(column) if isinstance(encoder, Numbers) else encoder.encode(column)
                separate.append(_Part(separate_weight * finer, untrained))
        words = self.words.transform(texts_of(attributes, self.texts), WORDS_SHARE) if self.words else None
        parts = [*joint, *separate]
        widths = [part.values.shape[1] for part in parts]
        blocks = [part.values for part in parts if part.values.shape[1]] or [parts[0].values]
        return FeatureMatrix(
            blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1),  # large: avoid a copy
            sum(widths[len(joint) :]),
            words,
            np.repeat([part.untrained for part in parts], widths),
        )

    def _shares(self, encoder: AttributeColumn) -> tuple[float, float]:
        """Give the factors of a column in the kernel and in the additive part."""
        if isinstance(encoder, Embedded):
            of_text = encoder.column.removesuffix(VECTOR) in self.texts
            return (0.0, TEXT_SHARE) if of_text else (FURTHER_SHARE, 0.0)
        if isinstance(encoder, Numbers) and encoder.quantiles:  # those of earlier versions have no quantiles
            return NUMBERS_SHARE, FINER_SHARE
        return 1.0, 0.0

    def to_bytes(self) -> bytes:
        """Give everything as safetensors."""
        means = {f"mean.{modality}": mean for modality, mean in self.means.items()}
        tensors: dict[str, NDArray[Any]] = {
            "columns": _columns_as_json(self.columns),
            "amounts": _columns_as_json(self.amounts),
            "texts": _as_json(self.texts),
        }
        if self.words:
            tensors |= {"words": _as_json(self.words.vocabulary), "rarity": self.words.idf}
        return save(tensors | means)

    @classmethod
    def from_bytes(cls, data: bytes) -> "ItemFeatures":
        """Read what `to_bytes` gave.

        Raises:
            DamagedFileError: When it is something else.
        """
        with read_as("the item features", "fit again, or go back"):
            tensors = finite_tensors(data)
            columns = _read(tensors.pop("columns"))
            amounts, texts = (_read(tensors.pop(name)) if name in tensors else [] for name in ("amounts", "texts"))
            words = Words(tuple(_read(tensors.pop("words"))), tensors.pop("rarity")) if "words" in tensors else None
            means = {Modality(name.removeprefix("mean.")): mean for name, mean in tensors.items()}
            ordered_means = {m: means[m] for m in Modality if m in means}
            return cls(
                ordered_means, tuple(map(read_column, columns)), tuple(texts), tuple(map(read_column, amounts)), words
            )


def _columns_as_json(columns: Sequence[AttributeColumn]) -> NDArray[np.uint8]:
    return _as_json([encoder.to_json() for encoder in columns])


def _as_json(values: Sequence[Any]) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(values).encode(), np.uint8)


def _read(data: NDArray[np.uint8]) -> list[Any]:
    values: list[Any] = json.loads(data.tobytes())
    return values


TEXT = "text (length)"


def count_features(columns: Sequence[AttributeColumn], texts: Sequence[str], attributes: pa.Table) -> pa.Table:
    """Give counts as columns: ``log(1 + count)``, NaN for 0.

    Args:
        columns: Encoders; the number of values of a categorical attribute is a count.
        texts: Text columns; the length of the longest text, in characters, is a count.
        attributes: Of N items, texts among them.
    """
    counts = {
        f"{encoder.column} (how many)": np.array(
            [len(values) for values in split_values(column_of(attributes, encoder.column))]
        )
        for encoder in columns
        if isinstance(encoder, Categories)
    }
    if texts:
        counts[TEXT] = np.max([_lengths(column_of(attributes, name)) for name in texts], axis=0)
    return pa.table({name: np.where(values > 0, np.log1p(values), np.nan) for name, values in counts.items()})


def _lengths(texts: pa.ChunkedArray) -> NDArray[np.int64]:
    """Count the characters of N texts, or of all in lists of texts: (N,) int64."""
    if pt.is_list(texts.type) or pt.is_large_list(texts.type):
        lists = texts.combine_chunks()
        inside, rows = _lengths(pa.chunked_array([pc.list_flatten(lists)])), pc.list_parent_indices(lists).to_numpy()
        return np.bincount(rows, inside, minlength=len(texts)).astype(np.int64)
    lengths = pc.fill_null(pc.utf8_length(pc.cast(texts, pa.large_string())), 0)
    result: NDArray[np.int64] = lengths.to_numpy().astype(np.int64)
    return result


def _mean_of_units(vectors: NDArray[np.floating[Any]], rows: Rows) -> Vectors:
    """Give the mean of some vectors, each scaled to unit length: (D,) float32."""
    total = np.zeros(vectors.shape[1])
    for start in range(0, len(rows), _BLOCK):
        total += unit(vectors[rows[start : start + _BLOCK]]).sum(axis=0, dtype=np.float64)
    mean: Vectors = (total / max(len(rows), 1)).astype(np.float32)
    return mean


def _unit_deviations(frozen: ModalityVectors, modality: Modality, mean: Vectors, length: float = 1.0) -> Vectors:
    """Give how unit vectors differ from their mean: (N, D) float32 of one length, 0 where an item lacks it."""
    vectors, exists = frozen.vectors[modality], frozen.exists[modality]
    deviations = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), _BLOCK):
        block = slice(start, start + _BLOCK)
        deviations[block] = unit((unit(vectors[block]) - mean) * exists[block, None])
    deviations *= np.float32(length)
    return deviations


def _deviation_rows(frozen: ModalityVectors, modality: Modality, mean: Vectors) -> LazyRows:
    """Give what `_unit_deviations` does, computed when rows are asked for."""
    return ComputedRows((frozen.count, len(mean)), lambda rows: _unit_deviations(frozen.take(rows), modality, mean))


def views_of(description: ItemFeatures, frozen: ModalityVectors, attributes: pa.Table) -> dict[str, Vectors]:
    """Give the views of N items, by name: (N, D) float32 of length 1, or 0 where an item lacks it.

    Args:
        description: The fitted features.
        frozen: The frozen vectors of the items.
        attributes: Their attributes, one row an item.
    """
    views: dict[str, Vectors] = {}
    for modality, mean in description.means.items():
        if fits_in_memory(4 * frozen.count * len(mean)):
            views[str(modality)] = _unit_deviations(frozen, modality, mean)
        else:
            views[str(modality)] = as_vectors(_deviation_rows(frozen, modality, mean))
    for encoder in description.columns:
        rows = encoder.encode(column_of(attributes, encoder.column))
        name = encoder.column if encoder.column not in views else f"{encoder.column} (attribute)"
        views[name] = unit(rows.astype(np.float32))
    return views
