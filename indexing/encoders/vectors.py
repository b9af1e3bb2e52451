"""The encoder without a model: vectors that users computed themselves and bring with their catalogue."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NoReturn

from PIL import Image

from indexing.columns import VECTOR_NAMES
from indexing.encoders.base import PRECOMPUTED, EncoderInfo
from indexing.errors import EncoderError
from indexing.types import Modality, Vectors
from indexing.vectors import check_dim

LONGEST_LABEL = 100


class VectorsEncoder:
    """Stands for whatever made the vectors of a catalogue.

    Args:
        dim: Length D of the vectors; 0 until a catalogue says it.
        label: A name for the space, so that two of one dimension are not taken for the same.

    >>> VectorsEncoder(512, "my-clip").info.name
    'vectors:512:my-clip'
    """

    def __init__(self, dim: int = 0, label: str = "") -> None:
        self.label = label
        name = f"{PRECOMPUTED}{dim or ''}" + (f":{label}" if label else "")
        self.info = EncoderInfo(name, dim, tuple(Modality), hashlib.sha256(name.encode()).hexdigest())

    def fitted(self, source: str, dims: Mapping[str, int]) -> "VectorsEncoder":
        """Give the encoder with the dimension and the modalities of a catalogue's vector columns.

        Args:
            source: For messages.
            dims: For each vector column the length of its vectors.

        Raises:
            CatalogueError: When there are no vectors, or of several lengths, or of another than this encoder's.
        """
        fitted = VectorsEncoder(check_dim(source, dims, self.info.dim or None), self.label)
        fitted.info = replace(fitted.info, modalities=tuple(VECTOR_NAMES[name] for name in dims))
        return fitted

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Refuse: there is no model.

        Raises:
            EncoderError: Always.
        """
        self._refuse(f"{len(texts)} texts")

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Refuse: there is no model.

        Raises:
            EncoderError: Always.
        """
        self._refuse(f"{len(images)} pictures")

    def _refuse(self, what: str) -> NoReturn:
        raise EncoderError(
            f"encoder {self.info.name!r} has no model and cannot embed {what}; embed queries with the model that made "
            "the catalogue's vectors, and search with Retriever.search_vectors"
        )


def load(rest: str, precision: str = "auto") -> VectorsEncoder:  # noqa: ARG001 - it has but one
    """Make the encoder of ``vectors:REST``, where the rest is empty, ``DIM`` or ``DIM:NAME``.

    Raises:
        EncoderError: When it is anything else.
    """
    dim, _, label = rest.partition(":")
    if (dim and not (dim.isascii() and dim.isdecimal() and int(dim) > 0)) or (label and not dim):
        raise EncoderError(
            f"{PRECOMPUTED + rest!r} names no dimension; write vectors:, vectors:512 or vectors:512:NAME"
        )
    if not label.isprintable() or len(label) > LONGEST_LABEL:
        raise EncoderError(f"label {label[:20]!r} is unusable; give at most {LONGEST_LABEL} printable characters")
    return VectorsEncoder(int(dim or 0), label)
