"""The verbs: search, similar, recommend, rerank. Everything is plural in, plural out."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from indexing.bundle import Bundle
from indexing.encoders import Encoder, load_encoder
from indexing.encoders.base import require, with_audio
from indexing.errors import InputError
from indexing.generation import BRIDGE
from indexing.index import VectorIndex
from indexing.index.base import check_vectors
from indexing.index.delta import DeltaIndex
from indexing.pictures import PictureLimits, UnusablePicture, decode_picture, read_picture
from indexing.sounds import Sound, SoundLimits, UnusableSound, decode_sound, read_sound
from indexing.types import Modality, Rows, Vectors
from retrieval.adapter import Adapter
from retrieval.behaviour import Behaviour
from retrieval.candidates import Candidates
from retrieval.explain import Explanation, explain
from retrieval.filters import Where, matching
from retrieval.interests import best_of, parts_of, split_history
from retrieval.item_rows import ItemRows
from retrieval.learned import LearnedParts
from retrieval.parts import Part, nearest_parts
from retrieval.retrieve import retrieve
from retrieval.second_stage import SecondStage
from retrieval.sources import Asked
from retrieval.spaces import modality_of, query_vectors, search_own_part
from retrieval.status import Status, measured_status, warn_if_degraded
from retrieval.users import UserModel

Picture = Image.Image | bytes | Path | str
Recording = Sound | bytes | Path | str


class Retriever:
    """Answers queries from one state of a bundle; safe to share between threads.

    Args:
        bundle: The opened bundle.
        encoder: The encoder that built it; loaded by name at the first text or image query when None.
        previous: A retriever of an earlier state, from which is taken what has not changed; see `latest`.

    Attributes:
        status: What its index finds of the queries stored at build, measured when it was opened.

    Example:
        >>> retriever = Retriever.load("bundles/shop")  # doctest: +SKIP
        >>> retriever.search_texts(["red canvas shoes"], k=10)[0][0]  # doctest: +SKIP
        Hit(item_id='shoe-3', score=0.71, rank=1)
    """

    def __init__(self, bundle: Bundle, encoder: Encoder | None = None, *, previous: "Retriever | None" = None) -> None:
        self.bundle = bundle
        self.items = bundle.items
        if previous is not None and previous.bundle.generation is not bundle.generation:
            previous = None
        self.learned: LearnedParts = previous.learned if previous else LearnedParts(bundle)
        if encoder is not None and previous is None:
            bundle.check_encoder(encoder)
        self._encoder = encoder
        self._rows: ItemRows = ItemRows(bundle, self.learned, previous._rows if previous else None)
        self.reranker = self.learned.reranker(self._rows.space, bundle)
        self.status: Status = previous.status if previous else measured_status(bundle, self.indexed)
        if previous is None:
            warn_if_degraded(self.status, bundle)

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

    @cached_property
    def index(self) -> VectorIndex:
        """The index over all items, changes included."""
        bundle = self.bundle
        if not bundle.batches:
            return bundle.index
        return DeltaIndex(bundle.index, self.indexed[len(bundle.generation.items) :], bundle.alive)

    @property
    def vectors(self) -> Vectors:
        """The content of every row: (N, D) float32."""
        return self._rows.space.content

    @property
    def indexed(self) -> Vectors:
        """What the index holds of every row, content and then behaviour: (N, D + R) float32."""
        return self._rows.space.indexed

    @property
    def behaviour(self) -> Behaviour | None:
        """What was learned of users, if anything."""
        return self._rows.space.behaviour

    @cached_property
    def centre(self) -> Vectors:
        """The mean content of all items: (D,) float32."""
        alive = self.bundle.alive
        mean: Vectors = (self.vectors if alive.all() else self.vectors[alive]).mean(axis=0)
        return mean

    @property
    def adapter(self) -> Adapter | None:
        """What the item vectors were learned with, if anything."""
        return self.learned.adapter

    @property
    def users(self) -> UserModel:
        """The user model."""
        return self.learned.users

    @property
    def encoder(self) -> Encoder:
        """The encoder that built the bundle, loaded when first needed and then proven to be the same."""
        if self._encoder is None:
            self._encoder = encoder_of(self.bundle)
        return self._encoder

    def search_texts(self, texts: Sequence[str], k: int = 10, *, where: Where = ()) -> Candidates:
        """Find the k items nearest to each text.

        Args:
            texts: B texts, never read as a path or URL.
            k: Answers a query.
            where: What every answer satisfies: ``field("year") >= 1990``, ``"year >= 1990"``, or a list of conditions
                as ``("year", ">=", 1990)`` that all hold.
        """
        _plural(texts, "texts")
        require(self.encoder, Modality.TEXT)
        return self._candidates(self.encoder.encode_texts(texts), k, where, kind="text")

    def search_images(self, images: Sequence[Picture], k: int = 10, *, where: Where = ()) -> Candidates:
        """Find the k items nearest to each picture: a PIL image, the bytes of a file, or the path of one.

        Raises:
            InputError: When a picture cannot be read.
        """
        _plural(images, "images")
        require(self.encoder, Modality.IMAGE)
        opened = [_open_picture(position, image) for position, image in enumerate(images)]
        return self._candidates(self.encoder.encode_images(opened), k, where, kind="image")

    def search_audio(self, sounds: Sequence[Recording], k: int = 10, *, where: Where = ()) -> Candidates:
        """Find the k items nearest to each sound: the bytes of a file, the path of one, or samples.

        Samples are (S,) float32, mono, at the encoder's ``audio_rate``.

        Raises:
            EncoderError: When the bundle's encoder hears nothing.
            InputError: When a sound cannot be read.
        """
        _plural(sounds, "sounds")
        encoder = with_audio(self.encoder)
        heard = [_open_sound(position, sound, encoder.audio_rate) for position, sound in enumerate(sounds)]
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
        allow = matching(self.bundle.attributes, where)
        frozen = self.bundle.modality_vectors
        scores, rows = search_own_part(self.index, frozen, queries, k, modality=asked, allow=allow)
        return Candidates(queries, rows, scores, self.items, "retrieve")

    def similar_items(self, item_ids: Sequence[str], k: int = 10, *, where: Where = ()) -> Candidates:
        """Find the k items nearest to each item, which is itself left out.

        Near is what looks and reads alike. What users take together is ``recommend([[item_id]])``.

        Raises:
            UnknownItemError: When an id is not in the bundle.
        """
        _plural(item_ids, "item_ids")
        rows = self.items.rows(item_ids)
        found = self._candidates(self.vectors[rows], k, where, list(rows[:, None]), kind="item")
        return replace(found, query_ids=tuple(item_ids))

    def recommend(
        self,
        histories: Sequence[Sequence[str]],
        k: int = 10,
        *,
        where: Where = (),
        exclude_seen: bool = True,
        user_ids: Sequence[str] = (),
        weights: Sequence[Sequence[float]] | None = None,
        interests: int = 1,
    ) -> Candidates:
        """Recommend k items to each user.

        Args:
            histories: For each of B users the item_ids of their history, oldest first; one click will do. Where
                interactions were learned from, an empty history is answered with what is popular.
            k: Answers a user.
            where: What every answer satisfies.
            exclude_seen: Leave out the items of the history.
            user_ids: B names for the answers.
            weights: How much each item of each history was liked, as in the log that was learned from: a rating of 1
                speaks against what a rating of 5 speaks for. All alike when None.
            interests: Split each history into so many groups of items that go together, at most, and ask for each: an
                item's score is then its best one, and the query of the answers that of the whole history.

        Raises:
            UnknownItemError: When an id is not in the bundle.
            InputError: When a history is empty and nothing was learned from interactions.
            ShapeError: When weights and histories do not fit.
        """
        _plural(histories, "histories")
        for user, history in enumerate(histories):
            _plural(history, f"histories[{user}]")
        rows = [self.items.rows(history) for history in histories]
        queries, exclude = self.user_queries(rows, weights), rows if exclude_seen else []
        if interests == 1:
            found = self._found(queries, k, where, exclude, kind="history")
        else:
            split = [split_history(self.indexed, history, interests) for history in rows]
            parts = [history[places] for history, groups in zip(rows, split, strict=True) for places in groups]
            liked = None if weights is None else parts_of(weights, split)
            seen = [history for history, groups in zip(exclude, split, strict=False) for _ in groups]
            each = self._found(self.user_queries(parts, liked), k, where, seen, kind="history")
            scores, best = best_of(each.scores, each.rows, [len(groups) for groups in split], each.rows.shape[1])
            found = Candidates(queries, best, scores, self.items, "retrieve")
        liked_of = () if weights is None else tuple(np.asarray(one, np.float32) for one in weights)
        names = tuple(user_ids) or found.query_ids
        return replace(found, query_ids=names, histories=tuple(rows), weights=liked_of)

    def user_queries(self, histories: Sequence[Rows], weights: Sequence[Sequence[float]] | None = None) -> Vectors:
        """Give what asks the index for a user: (B, D + R) float32; see `recommend`.

        Args:
            histories: B arrays of rows, oldest first.
            weights: How much each was liked.
        """
        given = None if weights is None else [np.asarray(one, np.float32) for one in weights]
        return self._rows.space.asked(histories, given, self.centre)

    def nearest_parts(self, candidates: Candidates) -> list[list[Part]]:
        """Say for each hit which of the item's texts, pictures, sounds or frames is nearest to the query."""
        queries = candidates.queries[:, : self.vectors.shape[1]]
        users = [line for line, past in enumerate(candidates.histories) if len(past) and not queries[line].any()]
        if users:  # whose query is all behaviour: the nearest part is that to what they like
            pasts = [candidates.histories[line] for line in users]
            queries = queries.copy()
            queries[users] = self.users.taste(self.vectors, pasts, self.centre)
        return nearest_parts(replace(candidates, queries=queries), self.bundle)

    def explain(
        self, candidates: Candidates, *, weights: Sequence[Sequence[float]] | None = None, most: int = 5
    ) -> list[list[Explanation]]:
        """Say for each hit of recommendations what made it one; see `retrieval.explain.explain`."""
        given = None if weights is None else [np.asarray(one, np.float32) for one in weights]
        return explain(candidates, self._rows.space, self.centre, given, most)

    def rerank(self, candidates: Candidates, k: int | None = None) -> Candidates:
        """Order candidates anew by the learned head, and keep the best k of each query (all when None)."""
        ranked = self.reranker.rerank(candidates)
        return ranked if k is None else ranked.top(k)

    def pool(
        self,
        histories: Sequence[Sequence[str]],
        each: int = 50,
        *,
        user_ids: Sequence[str] = (),
        weights: Sequence[Sequence[float]] | None = None,
    ) -> Candidates:
        """Give each user the candidates of all sources of the second stage, for `rerank`; items of the history are not.

        Args:
            histories: As for `recommend`.
            each: Candidates that a source may give.
            user_ids: B names for the answers.
            weights: As for `recommend`.

        Raises:
            InputError: When no second stage was learned.
        """
        if not isinstance(self.reranker, SecondStage):
            raise InputError("this bundle has no second stage, so no sources; call recommend, or learn one with `fit`")
        rows = [self.items.rows(history) for history in histories]
        facts = self.reranker.features.facts
        usual = [np.full(len(line), facts.usual) for line in rows] if weights is None else weights
        liked = [np.asarray(one, np.float32) for one in usual]
        asked = Asked(rows, liked, np.full(len(rows), facts.now, np.int64))
        gone = np.flatnonzero(~self.bundle.alive)
        return self.reranker.pool(asked, self.items, each, user_ids, gone=gone)

    def _candidates(
        self, queries: Vectors, k: int, where: Where, exclude: Sequence[Rows] = (), kind: str | None = None
    ) -> Candidates:
        """Find by content alone."""
        return self._found(self._rows.space.searched(queries), k, where, exclude, kind)

    def _found(
        self, queries: Vectors, k: int, where: Where, exclude: Sequence[Rows] = (), kind: str | None = None
    ) -> Candidates:
        allow = matching(self.bundle.attributes, where)
        scores, rows = retrieve(self.index, queries, k, exclude=exclude, allow=allow, kind=kind)
        return Candidates(queries, rows, scores, self.items, "retrieve")


def encoder_of(bundle: Bundle) -> Encoder:
    """Load the encoder that built a bundle, and prove that it is the same."""
    built = bundle.manifest.encoder
    bridge = bundle.read(BRIDGE) if bundle.has(BRIDGE) else None
    encoder = load_encoder(built.name, precision=built.precision, bridge=bridge)
    bundle.check_encoder(encoder)
    return encoder


def _plural(values: object, name: str) -> None:
    """Refuse a single string where a sequence of them is meant: it would be read letter by letter."""
    if isinstance(values, str | bytes):
        raise InputError(f"{name} is the single value {values!r:.60}; give a list, even of one: [{values!r:.60}]")


def _open_sound(position: int, sound: Recording, rate: int) -> Sound:
    if isinstance(sound, np.ndarray):
        return sound
    limits = SoundLimits()
    try:
        return decode_sound(read_sound(Path(sound) if isinstance(sound, str) else sound, limits), rate, limits)
    except UnusableSound as reason:
        name = "" if isinstance(sound, bytes) else f" ({str(sound)!r})"
        raise InputError(f"query sound {position}{name}: {reason}") from reason


def _open_picture(position: int, picture: Picture) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture
    limits = PictureLimits()
    try:
        return decode_picture(read_picture(Path(picture) if isinstance(picture, str) else picture, limits), limits)
    except UnusablePicture as reason:
        name = "" if isinstance(picture, bytes) else f" ({str(picture)!r})"
        raise InputError(f"query picture {position}{name}: {reason}") from reason
