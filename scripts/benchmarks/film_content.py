"""What is known of films without users: texts, two posters each, the vectors of both, genres and years.

Texts and the first poster have the vectors of vectors.parquet; the title alone and the second poster those of the
pocket encoder, whose text tower is the same MiniLM.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from indexing.encoders import load_encoder
from indexing.encoders.base import unit
from indexing.fusion import ModalityVectors
from indexing.item_ids import ItemIds
from indexing.types import Mask, Modality, Vectors
from retrieval.behaviour import Behaviour
from retrieval.described import Described
from retrieval.description import Description
from retrieval.prepare import History
from retrieval.training.behaviour import learn_behaviour
from retrieval.training.config import BehaviourConfig, NextItemsConfig
from retrieval.views import views_of
from scripts.benchmarks.products import opened

_SHARE_LOST = 0.3
_VECTORS = {"text_vector": Modality.TEXT, "image_vector": Modality.IMAGE}
_TEXTS = ["title", "description"]
_TITLE, _SECOND = "title_vector", "image_alt_vector"
# How much vectors count in the content block (chosen on hidden films, with its share at serving).
_SHARES = {"text": 1.0, _TITLE: 1.0, "image": 0.5, _SECOND: 0.35}


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
    def described(self) -> Described:
        """What behaviour is predicted from."""
        return self.description.of(self.frozen, self.table)

    def learn(self, pasts: Sequence[History], seed: int) -> Behaviour:
        """Learn a behaviour block that is predicted from how the films are described."""
        config = BehaviourConfig(next_items=NextItemsConfig(seed=seed))
        return learn_behaviour(pasts, self.described, config)

    @cached_property
    def views(self) -> dict[str, Vectors]:
        """Ways to look at them; see `views_of`."""
        return views_of(self.description, self.frozen, self.table)

    @cached_property
    def vectors(self) -> Vectors:
        """The content block, all vectors side by side: (N, D) float32 of length 1, or 0 for a film that has none."""
        parts = [share * self.views[name] for name, share in _SHARES.items() if name in self.views]
        return unit(np.concatenate([np.zeros((len(self.table), 1), np.float32), *parts], axis=1))


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
        text: Include text vectors, those of titles alone, words, and how long the texts are.
        image: Include vectors of both pictures, and the shape of the first.
        attributes: Include genres and years.
        lost: A column of vectors of which 30 % of the films lose theirs (seed 0), and with it texts or pictures.
    """
    kept = {"text_vector": text, "image_vector": image}
    frozen, there = {}, {}
    for column in (name for name, wanted in kept.items() if wanted):
        modality = _VECTORS[column]
        vectors, there[modality] = _vectors(folder, items, column, lost == column)
        frozen[modality] = vectors.astype(np.float16)
    names = ["genres", "year"] * attributes + _TEXTS * text + ["image"] * image
    columns = _columns(folder, items, names)
    further = further_vectors(folder, tuple(items))
    if text:
        columns |= {name: _where(there[Modality.TEXT], columns[name]) for name in _TEXTS}
        columns[_TITLE] = _where(there[Modality.TEXT], further[_TITLE])
    if image:
        columns["shape"] = _where(there[Modality.IMAGE], [_shape(one) for one in columns.pop("image")])
        columns[_SECOND] = _where(there[Modality.IMAGE], further[_SECOND])
    return FilmContent(ModalityVectors(frozen, there), pa.table(columns))


@cache
def further_vectors(folder: Path, items: tuple[str, ...]) -> dict[str, list[list[float] | None]]:
    """Embed titles and second posters; None where there is none, or it cannot be read."""
    encoder = load_encoder("pocket")
    columns = _columns(folder, ItemIds(list(items)), ["title", "image_alt"])
    seconds: list[list[float] | None] = []
    for data in columns["image_alt"]:
        picture = None if data is None else opened(data)
        seconds.append(None if picture is None else encoder.encode_images([picture])[0].tolist())
    return {_TITLE: encoder.encode_texts(columns["title"]).tolist(), _SECOND: seconds}


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


def _columns(folder: Path, items: ItemIds, names: Sequence[str]) -> dict[str, list[Any]]:
    """Read columns of items.parquet, a value a film."""
    table = pq.read_table(folder / "items.parquet", columns=["item_id", *names])
    line = {name: number for number, name in enumerate(table["item_id"].to_pylist())}
    columns: dict[str, list[Any]] = table.select(names).take([line[name] for name in items]).to_pydict()
    return columns


def _where(known: Mask, values: Sequence[Any]) -> list[Any]:
    return [value if there else None for there, value in zip(known.tolist(), values, strict=True)]


def _shape(picture: bytes | None) -> float | None:
    """Give the width of a picture as a share of its height."""
    if picture is None:
        return None
    width, height = Image.open(io.BytesIO(picture)).size
    return float(width / height)
