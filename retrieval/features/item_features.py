"""What is known of items without users: modalities, categories, numbers, words, and how much is said of them.

The behaviour of an item that nobody has touched is predicted from this. Its last columns are numbers once more, finer:
what they say is added to what all others say together. So which of two neighbouring years sells better is learned from
all items of these years, not from those alone that resemble the new one in everything else (Hastie and Tibshirani,
"Generalized Additive Models", 1990). So do words, and vectors of single text columns.
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
from retrieval.features.column_encoders import (
    AttributeColumn,
    Categories,
    Embedded,
    Numbers,
    column_of,
    columns_of,
    read_column,
    split_values,
)
from retrieval.features.tfidf import SparseRows, Words, texts_of


@dataclass(frozen=True, eq=False)
class FeatureMatrix:
    """N items by what is known of them without users.

    Attributes:
        lines: (N, F) float32, zero where nothing is known.
        additive: How many of the last columns say something by themselves, which is added to what the others say
            together.
        words: Words of their texts, which do so too; None where there are none.
        further: (F,) bool, columns that the learned tower is not shown, for it orders known items worse with them;
            None shows it all.
    """

    lines: Vectors
    additive: int = 0
    words: SparseRows | None = None
    further: Mask | None = None

    def __len__(self) -> int:
        return len(self.lines)

    def take(self, rows: Rows | slice) -> "FeatureMatrix":
        """Keep some of the items."""
        return replace(self, lines=self.lines[rows], words=self.words.take(rows) if self.words else None)

    @property
    def shown(self) -> Vectors:
        """The columns that the learned tower is shown."""
        return self.lines if self.further is None or not self.further.any() else self.lines[:, ~self.further]

    @property
    def together(self) -> Vectors:
        """The columns that count together: (N, F - additive) float32."""
        return self.lines[:, : self.lines.shape[1] - self.additive]

    @property
    def alone(self) -> Vectors:
        """The columns that count by themselves: (N, additive) float32."""
        return self.lines[:, self.lines.shape[1] - self.additive :]

    def kernel(self, other: "FeatureMatrix", gamma: float) -> Vectors:
        """Give the kernel between these items and M others, words left out: (N, M) float32.

        It is the RBF kernel ``exp(-gamma * squared distance)``, plus the inner product of the additive columns.
        """
        mine, theirs = self.together, other.together
        kernel: Vectors = mine @ theirs.T  # in place from here on: it is large
        kernel *= -2
        kernel += np.sum(mine**2, axis=1)[:, None]
        kernel += np.sum(theirs**2, axis=1)
        np.maximum(kernel, 0, out=kernel)
        kernel *= -np.float32(gamma)
        np.exp(kernel, out=kernel)
        if self.additive:
            kernel += self.alone @ other.alone.T
        return kernel


DESCRIPTION = "description.safetensors"
_BLOCK = 8_192  # rows at once
# Pictures and sounds say less of taste than texts (chosen on hidden films of MovieLens): less is learned from them.
SHARES = {Modality.TEXT: 1.0}
OTHER_SHARE = 0.5
# Numbers as well, and what is added of them (chosen there too).
NUMBERS_SHARE, FINER_SHARE = 0.6, 0.3
# As well: further vectors, such as those of a second picture; those of single texts, and words, which are added.
FURTHER_SHARE, TEXT_SHARE, WORDS_SHARE = 0.35, 0.45, 0.5


class _Part(NamedTuple):
    lines: Vectors
    further: bool = False


@dataclass(frozen=True, eq=False)
class ItemFeatures:
    """How items are described; learned once, then the same for those that come later.

    Attributes:
        means: For each modality (D,) float32, the mean of its unit vectors, which is taken from each.
        columns: The attributes that describe.
        texts: Columns of texts that were embedded; beside their vectors their length and their words describe.
        amounts: How much is said of an item, as far as it tells items apart; see `count_features`.
        words: Of these texts; earlier descriptions had none.
    """

    means: Mapping[Modality, Vectors]
    columns: tuple[AttributeColumn, ...]
    texts: tuple[str, ...] = ()
    amounts: tuple[AttributeColumn, ...] = ()
    words: Words | None = None

    @classmethod
    def learn(
        cls,
        frozen: ModalityVectors,
        attributes: pa.Table,
        exclude: Collection[str] = (),
        texts: Sequence[str] = (),
    ) -> "ItemFeatures":
        """Learn how the items of a catalogue are described.

        Args:
            frozen: Their frozen vectors.
            attributes: Their attributes, one line an item. Vectors are attributes too; those in ``title_vector`` are
                taken for vectors of the text column ``title``.
            exclude: Columns that are no attributes, as the id.
            texts: Columns of texts that were embedded, which are no attributes either.
        """
        modalities = [m for m in Modality if m in frozen.modalities]  # in the order in which they are read again
        means = {m: _mean_of_units(frozen.vectors[m], np.flatnonzero(frozen.exists[m])) for m in modalities}
        columns = columns_of(attributes, {*exclude, *texts})
        amounts = columns_of(count_features(columns, texts, attributes))
        return cls(means, columns, tuple(texts), amounts, Words.learn(texts_of(attributes, texts)))

    def of(self, frozen: ModalityVectors, attributes: pa.Table) -> FeatureMatrix:
        """Describe N items."""
        joint, separate = [_Part(np.zeros((len(attributes), 0), np.float32))], []
        for modality, mean in self.means.items():
            joint.append(_Part(_unit_deviations(frozen, modality, mean, SHARES.get(modality, OTHER_SHARE))))
        counts = count_features(self.columns, self.texts, attributes)
        encoders = [(encoder, column_of(attributes, encoder.column)) for encoder in self.columns]
        encoders += [(encoder, column_of(counts, encoder.column)) for encoder in self.amounts]
        for encoder, column in encoders:
            weight, separate_weight = self._shares(encoder)
            further = isinstance(encoder, Embedded)
            if weight:
                joint.append(_Part(weight * encoder.lines(column), further))
            if separate_weight:
                finer = encoder.finer(column) if isinstance(encoder, Numbers) else encoder.lines(column)
                separate.append(_Part(separate_weight * finer, further))
        words = self.words.lines(texts_of(attributes, self.texts), WORDS_SHARE) if self.words else None
        parts = [*joint, *separate]
        widths = [part.lines.shape[1] for part in parts]
        lines = [part.lines for part in parts if part.lines.shape[1]] or [parts[0].lines]
        return FeatureMatrix(
            lines[0] if len(lines) == 1 else np.concatenate(lines, axis=1),  # large: not copied for nothing
            sum(widths[len(joint) :]),
            words,
            np.repeat([part.further for part in parts], widths),
        )

    def _shares(self, encoder: AttributeColumn) -> tuple[float, float]:
        """Say how much a column counts together with others, and by itself."""
        if isinstance(encoder, Embedded):
            of_text = encoder.column.removesuffix(VECTOR) in self.texts
            return (0.0, TEXT_SHARE) if of_text else (FURTHER_SHARE, 0.0)
        if isinstance(encoder, Numbers) and encoder.quantiles:  # without quantiles, as earlier ones, they count whole
            return NUMBERS_SHARE, FINER_SHARE
        return 1.0, 0.0

    def to_bytes(self) -> bytes:
        """Give everything as safetensors."""
        means = {f"mean.{modality}": mean for modality, mean in self.means.items()}
        tensors: dict[str, NDArray[Any]] = {
            "columns": _told(self.columns),
            "amounts": _told(self.amounts),
            "texts": _as_json(self.texts),
        }
        if self.words:
            tensors |= {"words": _as_json(self.words.vocabulary), "rarity": self.words.rarity}
        return save(tensors | means)

    @classmethod
    def from_bytes(cls, data: bytes) -> "ItemFeatures":
        """Read what `to_bytes` gave.

        Raises:
            DamagedFileError: When it is something else.
        """
        with read_as("how items are described", "fit again, or go back"):
            tensors = finite_tensors(data)
            columns = _read(tensors.pop("columns"))
            amounts, texts = (_read(tensors.pop(name)) if name in tensors else [] for name in ("amounts", "texts"))
            words = Words(tuple(_read(tensors.pop("words"))), tensors.pop("rarity")) if "words" in tensors else None
            means = {Modality(name.removeprefix("mean.")): mean for name, mean in tensors.items()}
            ordered_means = {m: means[m] for m in Modality if m in means}
            return cls(
                ordered_means, tuple(map(read_column, columns)), tuple(texts), tuple(map(read_column, amounts)), words
            )


def _told(columns: Sequence[AttributeColumn]) -> NDArray[np.uint8]:
    return _as_json([encoder.told() for encoder in columns])


def _as_json(values: Sequence[Any]) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(values).encode(), np.uint8)


def _read(data: NDArray[np.uint8]) -> list[Any]:
    values: list[Any] = json.loads(data.tobytes())
    return values


TEXT = "text (length)"


def count_features(columns: Sequence[AttributeColumn], texts: Sequence[str], attributes: pa.Table) -> pa.Table:
    """Give amounts as columns: the logarithm of one and it, NaN where there is nothing.

    Args:
        columns: What describes; of categories, how many a line has is an amount.
        texts: Columns of texts; the length of the longest, in characters, is one.
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


def views_of(description: ItemFeatures, frozen: ModalityVectors, attributes: pa.Table) -> dict[str, Vectors]:
    """Give for each way (N, D) float32, of length 1, or 0 where an item lacks it.

    Args:
        description: How items are described, learned once.
        frozen: The frozen vectors of N items.
        attributes: Their attributes, one line an item.
    """
    views: dict[str, Vectors] = {}
    for modality, mean in description.means.items():
        views[str(modality)] = _unit_deviations(frozen, modality, mean)
    for encoder in description.columns:
        rows = encoder.lines(column_of(attributes, encoder.column))
        name = encoder.column if encoder.column not in views else f"{encoder.column} (attribute)"
        views[name] = unit(rows.astype(np.float32))
    return views
