"""What is known of films without users: text and picture vectors, genres and years, side by side."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from indexing.encoders.base import unit
from indexing.item_ids import ItemIds
from indexing.types import Vectors

_IMAGE = 0.5  # pictures say less of taste than texts: weighed down before any learning
_YEARS = np.arange(1930, 2000, 5)
_SPAN = 4.0


def described_by(
    folder: Path,
    items: ItemIds,
    *,
    text: bool = True,
    image: bool = True,
    attributes: bool = True,
    lost: tuple[str, float] | None = None,
) -> Vectors:
    """Give (N, F) float32, each modality centred, zero where an item lacks it.

    Args:
        folder: Of vectors.parquet and items.parquet.
        items: The catalogue.
        text: Include text vectors.
        image: Include picture vectors.
        attributes: Include genres and years.
        lost: A column of vectors and the share of items that lose theirs (seed 0).
    """
    columns = [("text_vector", 1.0)] * text + [("image_vector", _IMAGE)] * image
    parts = [weight * centred(folder, items, name, lost) for name, weight in columns]
    return np.concatenate([*parts, *([attributes_of(folder)] if attributes else [])], axis=1).astype(np.float32)


def centred(folder: Path, items: ItemIds, column: str, lost: tuple[str, float] | None = None) -> Vectors:
    """Give unit vectors after their mean was taken from them; missing ones are zero."""
    table = pq.read_table(folder / "vectors.parquet", columns=["item_id", column]).to_pydict()
    of_item = {name: vector for name, vector in zip(*table.values(), strict=True) if vector is not None}
    there = np.array([name in of_item for name in items])
    if lost is not None and lost[0] == column:
        there &= np.random.default_rng(0).random(len(items)) >= lost[1]
    vectors = np.zeros((len(items), len(next(iter(of_item.values())))), np.float32)
    vectors[there] = unit(np.array([of_item[name] for name in np.array(list(items))[there]], np.float32))
    vectors[there] = unit(vectors[there] - vectors[there].mean(axis=0))
    return vectors


def attributes_of(folder: Path) -> Vectors:
    """Give genres as unit vectors, and years as bumps over half-decades; rows in the order of items.parquet."""
    table = pq.read_table(folder / "items.parquet", columns=["genres", "year"]).to_pydict()
    of_film = [line.split("|") if isinstance(line, str) else list(line or ()) for line in table["genres"]]
    names = sorted({genre for line in of_film for genre in line})
    genres = np.array([[float(name in line) for name in names] for line in of_film])
    years = np.array([np.nan if year is None else float(year) for year in table["year"]])
    bumps = np.exp(-(((years[:, None] - _YEARS) / _SPAN) ** 2))
    found: Vectors = np.concatenate([unit(genres.astype(np.float32)), np.nan_to_num(bumps)], axis=1)
    return found
