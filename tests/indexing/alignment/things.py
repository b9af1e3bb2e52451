"""Catalogues whose texts and pictures are in different spaces, of low rank, and what exact arithmetic says of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from indexing.arrays import Mask, Vectors
from indexing.catalogue.catalogue import Catalogue

Matrix = NDArray[np.float64]
RANK, TEXT, IMAGE = 6, 24, 70


class Things:
    """Items whose texts (24 numbers) and pictures (70 numbers) depend on six hidden ones, other ones for each.

    Every seventh item lacks its picture, every ninth its text; none lacks both.
    """

    def __init__(self, count: int = 60, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        hidden = rng.normal(size=(2, count, RANK))
        self.texts = (hidden[0] @ rng.normal(size=(RANK, TEXT)) + 3 * rng.normal(size=TEXT)).astype(np.float32)
        self.images = 50 * (hidden[1] @ rng.normal(size=(RANK, IMAGE)) + 3 * rng.normal(size=IMAGE)).astype(np.float32)
        rows = np.arange(count)
        self.has_text: Mask = rows % 9 != 8
        self.has_image: Mask = rows % 7 != 6
        self.has_image[~self.has_text] = True
        self.ids = [f"thing-{row}" for row in range(count)]

    def catalogue(self, folder: Path, rows: Sequence[int] | None = None, **more: Any) -> Catalogue:  # noqa: ANN401
        """Write some of the items, with further columns if need be, and open the file."""
        rows = range(len(self.ids)) if rows is None else rows
        columns = {
            "item_id": [self.ids[row] for row in rows],
            "number": list(rows),
            "text_vector": [self.texts[row].tolist() if self.has_text[row] else None for row in rows],
            "image_vector": [self.images[row].tolist() if self.has_image[row] else None for row in rows],
        }
        path = folder / "items.parquet"
        pq.write_table(pa.table({name: values for name, values in {**columns, **more}.items() if values}), path)
        return Catalogue.from_parquet(path)


def spread(vectors: NDArray[Any], has: Mask) -> float:
    """Mean square of what is left of unit vectors after taking away their mean."""
    left = scaled(vectors[has]) - scaled(vectors[has]).mean(axis=0)
    return float((left**2).sum(axis=1).mean())


def side_by_side(things: Things) -> Matrix:
    """What an item is: its centred text and picture, each weighed by the length that centring leaves on average."""
    text = centred(things.texts, things.has_text) * spread(things.texts, things.has_text) ** 0.5
    image = centred(things.images, things.has_image) * spread(things.images, things.has_image) ** 0.5
    return scaled(np.concatenate([text, image], axis=1))


def scaled(vectors: NDArray[Any]) -> Matrix:
    """Lines of unit length in float64."""
    wide = vectors.astype(np.float64)
    units: Matrix = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return units


def centred(vectors: NDArray[Any], has: Mask, others: Vectors | None = None) -> Matrix:
    """Take the mean of the unit vectors that exist away from them, and scale them again; zero for the rest."""
    mean = scaled(vectors[has]).mean(axis=0)
    if others is not None:
        return scaled(scaled(others) - mean)
    left = scaled(vectors) - mean
    return scaled(left) * has[:, None]
