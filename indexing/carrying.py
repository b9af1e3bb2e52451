"""A bundle that is built again keeps what it has learned, where the encoder is the same."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from indexing.bundle import Bundle
from indexing.errors import BundleError
from indexing.fusion import ModalityVectors
from indexing.index.queries import Asked
from indexing.item_ids import ItemIds
from indexing.manifest import MANIFEST, Manifest
from indexing.state import read_state
from indexing.types import Vectors


@dataclass(frozen=True)
class Items:
    """The M items of a new generation.

    Attributes:
        ids: Their item_ids, in row order.
        frozen: Their frozen vectors.
        attributes: Their attributes, one line an item.
        sample: So many queries of each kind the index is tuned on.
    """

    ids: ItemIds
    frozen: ModalityVectors
    attributes: pa.Table
    sample: int


@dataclass(frozen=True, eq=False)
class Carried:
    """What a bundle has learned, for other items.

    Attributes:
        vectors: (M, E) float32, what is indexed.
        queries: Held-out queries of each kind.
        files: The learned files.
        told: What the manifest says of it.
        features: The learned parts.
    """

    vectors: Vectors
    queries: Asked
    files: Mapping[str, bytes]
    told: Mapping[str, Any]
    features: tuple[str, ...]


Carry: TypeAlias = Callable[[Bundle, Items], Carried]
"""Takes what a bundle has learned over to the items of a new generation."""


def learned_before(root: Path, fingerprint: str, carry: Carry | None, *, drop: bool) -> Bundle | None:
    """Open the bundle whose learned parts a new build takes over; None when it has none, or these are dropped.

    Raises:
        BundleError: When what was learned would be lost, and nobody said that it may be.
    """
    try:
        state = read_state(root)
        manifest = None if state is None else Manifest.read(root / state.generation / MANIFEST)
    except BundleError:  # what cannot be read is built anew
        return None
    if drop or manifest is None or not manifest.features:
        return None
    learned = f"{root} has learned {', '.join(manifest.features)}"
    if manifest.encoder.fingerprint != fingerprint:
        raise _lost(f"{learned} in the space of {manifest.encoder.name!r}, which is not that of the encoder given")
    if carry is None:
        raise _lost(learned, "give carry=retrieval.carry_over to keep that, or ")
    try:
        return Bundle.open(root)
    except BundleError as error:
        raise _lost(f"{learned}, but cannot be opened: {error}") from error


def _lost(message: str, first: str = "") -> BundleError:
    return BundleError(
        message,
        python=f"{first}drop_learned=True to build without it and fit again",
        cli="build with --drop-learned, and fit again",
    )
