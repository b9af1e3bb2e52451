"""The encoder without a model: vectors that users computed themselves and bring with their catalogue."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

from PIL import Image

from indexing.arrays import Vectors
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import VECTOR_NAMES
from indexing.catalogue.vectors import check_dim
from indexing.encoders.alignment.separate_encoder import SpacesEncoder, separate_name
from indexing.encoders.alignment.separate_spaces import MAX_DIMS, Spaces, learn_spaces
from indexing.encoders.base import PRECOMPUTED, SEPARATE, EncoderInfo
from indexing.encoders.inference.compute import Compute
from indexing.errors import EncoderError
from indexing.media.files import Modality

MAX_LABEL_LENGTH = 100
SEPARATE_SUFFIX = SEPARATE.removeprefix(PRECOMPUTED)


class VectorsEncoder:
    """Stands for whatever made the vectors of a catalogue.

    Args:
        dim: Length D of the vectors; 0 until a catalogue says it.
        label: A name for the space, so that two of one dimension are not taken for the same.
        max_dims: The most numbers that a modality keeps, where each has a space of its own; 0 where all share one, or
            the catalogue is to say it by the lengths of its vectors.

    >>> VectorsEncoder(512, "my-clip").info.name
    'vectors:512:my-clip'
    """

    def __init__(self, dim: int = 0, label: str = "", max_dims: int = 0) -> None:
        self.label, self.max_dims = label, max_dims
        name = (
            separate_name(max_dims, label) if max_dims else f"{PRECOMPUTED}{dim or ''}" + (f":{label}" if label else "")
        )
        self.info = EncoderInfo(name, dim, tuple(Modality), hashlib.sha256(name.encode()).hexdigest())

    def fitted(self, catalogue: Catalogue, stored_maps: bytes | None = None) -> "VectorsEncoder | SpacesEncoder":
        """Return the encoder with the dimension and the modalities of a catalogue's vector columns.

        Columns of several lengths are different spaces: for these, or when told so, maps are learned, one a modality.

        Args:
            catalogue: The items with their vectors.
            stored_maps: Maps that a bundle keeps already, which are taken instead of learning others.

        Raises:
            CatalogueError: When there are no vectors, or of another length than this encoder's.
        """
        dims, max_dims = catalogue.vector_dims, self.max_dims or MAX_DIMS
        if stored_maps is not None and not self.info.dim:
            return SpacesEncoder(Spaces.from_bytes(stored_maps), max_dims, self.label)
        lengths = {VECTOR_NAMES[name]: length for name, length in dims.items() if length}
        if lengths and self.separates(catalogue):
            return SpacesEncoder(learn_spaces(catalogue, lengths, max_dims), max_dims, self.label)
        fitted = VectorsEncoder(check_dim(catalogue.source, dims, self.info.dim or None), self.label)
        fitted.info = replace(fitted.info, modalities=tuple(VECTOR_NAMES[name] for name in dims))
        return fitted

    def separates(self, catalogue: Catalogue) -> bool:
        """Whether it takes the modalities of a catalogue for spaces of their own."""
        has_several_lengths = len({length for length in catalogue.vector_dims.values() if length}) > 1
        return bool(self.max_dims) or (has_several_lengths and not self.info.dim)

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

    def _refuse(self, contents: str) -> NoReturn:
        raise EncoderError(
            f"encoder {self.info.name!r} has no model and cannot embed {contents}",
            python="embed queries with the model that made the catalogue's vectors, and search with "
            "Retriever.search_vectors",
            cli="embed queries with the model that made the catalogue's vectors; only items can be searched with, by "
            "`commonspace similar`",
            http="embed them with the model that made the catalogue's vectors, and send each as a part with `vector`",
        )


def load(rest: str, compute: Compute, bridge: bytes | None = None) -> VectorsEncoder | SpacesEncoder:
    """Make the encoder of ``vectors:REST``.

    Args:
        rest: Empty, ``DIM``, ``DIM:NAME``, ``separate``, ``separate:MOST`` or ``separate:MOST:NAME``.
        compute: Its precision is without effect, and there is nothing for a GPU to compute.
        bridge: The maps that a bundle keeps, for ``separate…``; without them they are learned from the catalogue.

    Raises:
        EncoderError: When it is anything else, or a GPU was asked for.
        DamagedFileError: When ``bridge`` is none of such maps.
    """
    compute.refuse_compile(PRECOMPUTED + rest)
    compute.refuse_gpu(PRECOMPUTED + rest, "has no model: the vectors come with the catalogue")
    separate = rest.split(":")[0] == SEPARATE_SUFFIX
    dim, _, label = (rest.removeprefix(SEPARATE_SUFFIX).removeprefix(":") if separate else rest).partition(":")
    if (dim and not (dim.isascii() and dim.isdecimal() and int(dim) > 0)) or (label and not dim):
        raise EncoderError(
            f"{PRECOMPUTED + rest!r} names no dimension; write vectors:, vectors:512 or vectors:512:NAME, or for "
            f"modalities of different spaces {SEPARATE}, {SEPARATE}:256 or {SEPARATE}:256:NAME"
        )
    if not label.isprintable() or len(label) > MAX_LABEL_LENGTH:
        raise EncoderError(f"label {label[:20]!r} is unusable; give at most {MAX_LABEL_LENGTH} printable characters")
    if not separate:
        return VectorsEncoder(int(dim or 0), label)
    max_dims = int(dim or MAX_DIMS)
    return (
        VectorsEncoder(0, label, max_dims)
        if bridge is None
        else SpacesEncoder(Spaces.from_bytes(bridge), max_dims, label)
    )
