"""What is known of films without users: text and picture vectors, genres, years, and the shape of the poster."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from indexing.encoders.base import unit
from indexing.fusion import ModalityVectors
from indexing.item_ids import ItemIds
from indexing.types import Mask, Modality, Vectors
from retrieval.description import Description
from retrieval.views import views_of

_SHARE_LOST = 0.3
_VECTORS = {"text_vector": Modality.TEXT, "image_vector": Modality.IMAGE}
_TEXTS = ["title", "description"]


@dataclass(frozen=True, eq=False)
class FilmContent:
    """The films as a bundle has them: frozen vectors and attributes, and how these describe.

    Attributes:
        frozen: Their vectors.
        table: Attributes and texts, a line a film.
    """

    frozen: ModalityVectors
    table: pa.Table

    @cached_property
    def description(self) -> Description:
        """Learned from all of them."""
        texts = [name for name in _TEXTS if name in self.table.column_names]
        return Description.learn(self.frozen, self.table, texts=texts)

    @cached_property
    def lines(self) -> Vectors:
        """(N, F) float32."""
        return self.description.of(self.frozen, self.table)

    @property
    def additive(self) -> int:
        """How many of the last columns of lines say something by themselves."""
        return self.description.additive

    @property
    def views(self) -> dict[str, Vectors]:
        """Ways to look at them; see `views_of`."""
        return views_of(self.description, self.frozen, self.table)


def content_of(
    folder: Path,
    items: ItemIds,
    *,
    text: bool = True,
    image: bool = True,
    attributes: bool = True,
    lost: str | None = None,
) -> FilmContent:
    """Read vectors.parquet and items.parquet.

    Args:
        folder: Of both.
        items: The catalogue.
        text: Include text vectors, and how long the texts are.
        image: Include picture vectors, and the shape of the picture.
        attributes: Include genres and years.
        lost: A column of vectors of which 30 % of the films lose theirs (seed 0), and with it the text or the picture.
    """
    kept = {"text_vector": text, "image_vector": image}
    frozen, there = {}, {}
    for column in (name for name, wanted in kept.items() if wanted):
        modality = _VECTORS[column]
        vectors, there[modality] = _vectors(folder, items, column, lost == column)
        frozen[modality] = vectors.astype(np.float16)
    table = _in_order(pq.read_table(folder / "items.parquet"), items)
    columns: dict[str, Sequence[object]] = {}
    if attributes:
        columns |= {name: table[name].to_pylist() for name in ("genres", "year")}
    if text:
        known = there[Modality.TEXT]
        columns |= {name: _where(known, table[name].to_pylist()) for name in _TEXTS}
    if image:
        columns["shape"] = _where(there[Modality.IMAGE], [_shape(one) for one in table["image"].to_pylist()])
    nothing = {Modality.TEXT: np.zeros((len(items), 1), np.float16)}, {Modality.TEXT: np.zeros(len(items), np.bool_)}
    vectors_of = ModalityVectors(frozen, there) if frozen else ModalityVectors(*nothing)
    return FilmContent(vectors_of, pa.table(columns))


def centred(folder: Path, items: ItemIds, column: str, *, lost: bool = False) -> Vectors:
    """Give unit vectors after their mean was taken from them, (N, D) float32; missing ones are zero."""
    vectors, there = _vectors(folder, items, column, lost)
    vectors[there] = unit(vectors[there] - vectors[there].mean(axis=0))
    return vectors


def _vectors(folder: Path, items: ItemIds, column: str, lost: bool) -> tuple[Vectors, Mask]:
    """Give unit vectors, and which films have one."""
    table = pq.read_table(folder / "vectors.parquet", columns=["item_id", column]).to_pydict()
    of_item = {name: vector for name, vector in zip(*table.values(), strict=True) if vector is not None}
    there = np.array([name in of_item for name in items])
    if lost:
        there &= np.random.default_rng(0).random(len(items)) >= _SHARE_LOST
    vectors = np.zeros((len(items), len(next(iter(of_item.values())))), np.float32)
    vectors[there] = unit(np.array([of_item[name] for name in np.array(list(items))[there]], np.float32))
    return vectors, there


def _in_order(table: pa.Table, items: ItemIds) -> pa.Table:
    line = {name: number for number, name in enumerate(table["item_id"].to_pylist())}
    return table.take([line[name] for name in items])


def _where(known: Mask, values: Sequence[object]) -> list[object]:
    return [value if there else None for there, value in zip(known.tolist(), values, strict=True)]


def _shape(picture: bytes | None) -> float | None:
    """Give the width of a picture as a share of its height."""
    if picture is None:
        return None
    width, height = Image.open(io.BytesIO(picture)).size
    return float(width / height)
