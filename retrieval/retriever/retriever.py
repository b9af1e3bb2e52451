"""The verbs: search and similar here, and with them all others. Everything is plural in, plural out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from indexing.arrays.types import Vectors
from indexing.arrays.vectors import check_vectors
from indexing.bundle.bundle import Bundle
from indexing.encoders import Encoder
from indexing.encoders.base import require, with_audio
from indexing.index.base import check_k
from indexing.media.files import Modality
from indexing.runtime.arguments import plural
from retrieval.candidates import Candidates
from retrieval.filters import Where, allowed
from retrieval.retriever.query_inputs import Picture, Recording, open_pictures, open_sounds, worded
from retrieval.retriever.recommend import Recommending
from retrieval.retriever.separate_spaces import modality_of, query_vectors, search_own_part


class Retriever(Recommending):
    """Answers queries from one state of a bundle; safe to share between threads.

    Args:
        bundle: The opened bundle.
        encoder: The encoder that built it; loaded by name at the first text or image query when None.
        previous: A retriever of an earlier state, from which is taken what has not changed; see `latest`.

    Attributes:
        status: What its index finds of the queries stored at build, measured when it was opened.

    Example::

        retriever = Retriever.load("bundles/shop")
        hits = retriever.search_texts(["red canvas shoes"], k=10)[0]
        hits[0]  # Hit(item_id='shoe-3', score=0.71, rank=1)
    """

    @classmethod
    def load(cls, path: Path | str, encoder: Encoder | None = None) -> "Retriever":
        """Open the generation in force of a bundle.

        Raises:
            BundleError: When there is none, or it is damaged or of a newer version.
            EncoderMismatchError: When the encoder given is not the one that built it.
        """
        return cls(Bundle.open(path), encoder)

    def latest(self) -> "Retriever":
        """Give a retriever of what was put in force since: this one when that is nothing.

        This one goes on answering from what it was loaded from, so that threads may go over one by one; no answer is a
        mixture. What both share, as the vectors of a generation, is in memory once.
        """
        bundle = self.bundle.latest()
        if bundle is self.bundle:
            return self
        same = bundle.manifest.encoder.fingerprint == self.bundle.manifest.encoder.fingerprint
        return Retriever(bundle, self._encoder if same else None, previous=self)

    def search_texts(self, texts: Sequence[str], k: int = 10, *, where: Where = ()) -> Candidates:
        """Find the k items nearest to each text.

        Args:
            texts: B texts, never read as a path or URL.
            k: Answers a query.
            where: What every answer satisfies: ``field("year") >= 1990``, ``"year >= 1990"``, or a list of conditions
                as ``("year", ">=", 1990)`` that all hold.
        """
        worded(texts)
        require(self.encoder, Modality.TEXT)
        return self._candidates(self.encoder.encode_texts(texts), k, where, kind="text")

    def search_images(self, images: Sequence[Picture], k: int = 10, *, where: Where = ()) -> Candidates:
        """Find the k items nearest to each picture: a PIL image, the bytes of a file, or the path of one.

        Raises:
            InputError: When a picture cannot be read.
        """
        plural(images, "images")
        require(self.encoder, Modality.IMAGE)
        opened = open_pictures(images, self.encoder)
        return self._candidates(self.encoder.encode_images(opened), k, where, kind="image")

    def search_audio(self, sounds: Sequence[Recording], k: int = 10, *, where: Where = ()) -> Candidates:
        """Find the k items nearest to each sound: the bytes of a file, the path of one, or samples.

        Samples are (S,) float32, mono, at the encoder's ``audio_rate``.

        Raises:
            EncoderError: When the bundle's encoder hears nothing.
            InputError: When a sound cannot be read.
        """
        plural(sounds, "sounds")
        encoder = with_audio(self.encoder)
        heard = open_sounds(sounds, encoder)
        return self._candidates(encoder.encode_audio(heard), k, where, kind="audio")

    def search_vectors(
        self, vectors: Vectors, k: int = 10, *, modality: str | None = None, where: Where = ()
    ) -> Candidates:
        """Find the k items nearest to each of (B, D) query vectors, of any length but zero.

        Args:
            vectors: B queries.
            k: Answers a query.
            modality: What they embed: ``"text"``, ``"image"`` or ``"audio"``. It must be said where the bundle's
                modalities are different spaces: D is then that of the modality's own vectors, only items that have the
                modality are answers, and the score is the cosine within it.
            where: What every answer satisfies.

        Raises:
            SeparateSpacesError: When the modality must be said and was not.
        """
        built = self.bundle.manifest.encoder
        asked = modality_of(modality, built)
        if asked is None or not built.separate:
            return self._candidates(check_vectors(vectors, built.dim, "queries"), k, where, kind=asked)
        queries = self._rows.space.searched(query_vectors(self.encoder, asked, vectors))
        allow = allowed(self.bundle.attributes, where)
        frozen = self.bundle.modality_vectors
        k = check_k(k)
        scores, rows = search_own_part(self.index, frozen, queries, k, modality=asked, allow=allow)
        return Candidates(queries, rows, scores, self.items, "retrieve")

    def similar_items(self, item_ids: Sequence[str], k: int = 10, *, where: Where = ()) -> Candidates:
        """Find the k items nearest to each item, which is itself left out.

        Near is what looks and reads alike. What users take together is ``recommend([[item_id]])``.

        Raises:
            UnknownItemError: When an id is not in the bundle.
        """
        plural(item_ids, "item_ids")
        rows = self.items.rows(item_ids)
        found = self._candidates(self.vectors[rows], k, where, list(rows[:, None]), kind="item")
        return replace(found, query_ids=tuple(item_ids))
