"""The encoder without a model for vectors of several spaces: it maps each modality's into a part of its own."""

import hashlib
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from PIL import Image

from indexing.arrays import Vectors, check_vectors
from indexing.encoders.alignment.separate_spaces import Spaces
from indexing.encoders.base import SEPARATE, EncoderInfo
from indexing.errors import EncoderError, VectorError, examples
from indexing.media.files import Modality


def separate_name(max_dims: int, label: str) -> str:
    """Name the encoder by the most numbers that a modality keeps, and the label.

    >>> separate_name(256, "mine"), separate_name(0, "")
    ('vectors:separate:256:mine', 'vectors:separate')
    """
    return SEPARATE + (f":{max_dims}" if max_dims else "") + (f":{label}" if label else "")


class SpacesEncoder:
    """Stands for whatever made the vectors of a catalogue, one model a modality, none comparable with another.

    Args:
        spaces: The learned maps.
        max_dims: The most numbers that a modality was to keep.
        label: A name, so that two are not taken for the same.
    """

    def __init__(self, spaces: Spaces, max_dims: int, label: str = "") -> None:
        self.spaces = spaces
        name = separate_name(max_dims, label)
        fingerprint = hashlib.sha256(f"{name} {spaces.digest}".encode()).hexdigest()
        self.info = EncoderInfo(name, spaces.dim, spaces.modalities, fingerprint, weights=spaces.weights)

    def bridge_report(self) -> dict[str, Any]:
        """Return for each modality how long its vectors are, how many numbers are kept, and how much that keeps."""
        return self.spaces.report()

    def bridge_bytes(self) -> bytes:
        """Return the maps as a file."""
        return self.spaces.to_bytes()

    def encode_vectors(self, modality: Modality, vectors: Vectors) -> Vectors:
        """Map N query vectors of a modality, of any length but zero: (N, D) float32, unit length.

        Raises:
            SeparateSpacesError: When the modality has no map.
            ShapeError: When they are not (N, S) of that modality.
            VectorError: When one is not finite, or zero, or nothing of it is left in the dimensions that were learned.
        """
        mapped = self.spaces.apply(modality, check_vectors(vectors, None, f"{modality} queries"))
        if lost := np.flatnonzero((mapped == 0).all(axis=1)).tolist():
            raise VectorError(
                f"{modality} queries at rows {examples(lost)} have no direction left in the dimensions learned; "
                "leave them out"
            )
        return mapped

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Refuse: there is no model.

        Raises:
            EncoderError: Always.
        """
        self._refuse(f"{len(texts)} texts", Modality.TEXT)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Refuse: there is no model.

        Raises:
            EncoderError: Always.
        """
        self._refuse(f"{len(images)} pictures", Modality.IMAGE)

    def _refuse(self, contents: str, modality: Modality) -> NoReturn:
        raise EncoderError(
            f"encoder {self.info.name!r} has no model and cannot embed {contents}",
            python="embed them with the model that made the "
            f"catalogue's {modality} vectors, and call Retriever.search_vectors(vectors, modality={str(modality)!r})",
            cli="only items can be searched with, by `commonspace similar`",
            http="ask /similar about items, which needs no model",
        )
