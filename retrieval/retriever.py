"""The verbs: search, similar, recommend, rerank, diversify. Everything is plural in, plural out."""

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path

import numpy as np

from indexing.bundle import Bundle
from indexing.encoders import Encoder
from indexing.encoders.base import require, with_audio
from indexing.errors import InputError, ShapeError
from indexing.index.base import check_k, check_vectors
from indexing.types import Modality, Rows, Vectors
from retrieval.candidates import Candidates
from retrieval.explain import finite_weights
from retrieval.filters import Where, allowed
from retrieval.interaction_repeats import each_once
from retrieval.interests import best_of, parts_of, split_history
from retrieval.later_stages import LaterStages
from retrieval.opening import Picture, Recording, open_pictures, open_sounds, plural, weighed, worded
from retrieval.profile_taste import Given
from retrieval.ragged import lengths_of
from retrieval.retrieve import retrieve, retrieve_tastes
from retrieval.second_stage import SecondStage
from retrieval.sources import Asked
from retrieval.spaces import modality_of, query_vectors, search_own_part


class Retriever(LaterStages):
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

    def recommend(
        self,
        histories: Sequence[Sequence[str]],
        k: int = 10,
        *,
        where: Where = (),
        exclude_seen: bool = True,
        user_ids: Sequence[str] = (),
        weights: Sequence[Sequence[float]] | None = None,
        profiles: Given | None = None,
        interests: int = 1,
        least: float | None = None,
    ) -> Candidates:
        """Recommend k items to each user.

        Args:
            histories: For each of B users the item_ids of their history, oldest first; one click will do. An item that
                comes several times counts once, where it comes last, with its last weight. Where interactions were
                learned from, an empty history is answered with what is popular.
            k: Answers a user.
            where: What every answer satisfies.
            exclude_seen: Leave out the items of the history.
            user_ids: B names for the answers.
            weights: How much each item of each history was liked, as in the log that was learned from: a rating of 1
                speaks against what a rating of 5 speaks for. All alike when None. What was disliked is left out of the
                answers, and says nothing of taste. A user who liked nothing is answered with what is popular, or with
                nothing where that was not learned.
            profiles: What is known of each user beside the history, ``{"age": 31, "plan": "team"}``, or a table with a
                line for each; only where `fit` learned from profiles. It counts less the longer the history is.
            interests: Split each history into so many groups of items that go together, at most, and ask for each: an
                item's score is then its best one, and the query of the answers that of the whole history.
            least: What weighs less was disliked: half of the largest weight of the ratings learned from when None, or
                of the same history where nothing was learned. Give 0 where weights are no ratings.

        Raises:
            UnknownItemError: When an id is not in the bundle.
            InputError: When a history is empty and nothing was learned from interactions, or profiles cannot be used.
            ShapeError: When weights or profiles and histories do not fit.
        """
        plural(histories, "histories")
        for user, history in enumerate(histories):
            plural(history, f"histories[{user}]")
        if isinstance(interests, bool) or not isinstance(interests, Integral) or interests < 1:
            raise InputError(f"interests is {interests!r}; give a whole number of at least 1")
        weighed(weights, histories)
        rows, liked_of = self._pasts(histories, weights)
        new = self.new_queries(profiles, len(rows))
        queries, exclude = self.user_queries(rows, liked_of, new, least), rows if exclude_seen else []
        if interests == 1:
            found = self._found(queries, k, where, exclude, kind="history")
        else:
            split = [split_history(self.indexed, history, interests) for history in rows]
            parts = [history[places] for history, groups in zip(rows, split, strict=True) for places in groups]
            liked = None if liked_of is None else parts_of(liked_of, split)
            of_parts = None if new is None else np.repeat(new, lengths_of(split), axis=0)
            seen = [history for history, groups in zip(exclude, split, strict=False) for _ in groups]
            each = self._found(self.user_queries(parts, liked, of_parts, least), k, where, seen, kind="history")
            scores, best = best_of(each.scores, each.rows, [len(groups) for groups in split], each.rows.shape[1])
            found = Candidates(queries, best, scores, self.items, "retrieve")
        names = tuple(user_ids) or found.query_ids
        return replace(
            found,
            query_ids=names,
            histories=tuple(rows),
            weights=tuple(liked_of or ()),
            new=new,
            learned=self.learned.learned_from,
        )

    def _pasts(
        self, histories: Sequence[Sequence[str]], weights: Sequence[Sequence[float]] | None
    ) -> tuple[list[Rows], list[Vectors] | None]:
        """Give rows and weights of histories, each item once."""
        rows = [self.items.rows(history) for history in histories]
        return each_once(rows, None if weights is None else finite_weights(weights, rows))

    def user_queries(
        self,
        histories: Sequence[Rows],
        weights: Sequence[Sequence[float] | Vectors] | None = None,
        new: Vectors | None = None,
        least: float | None = None,
    ) -> Vectors:
        """Give what asks the index for a user: (B, D + R) float32; see `recommend`.

        Args:
            histories: B arrays of rows, oldest first.
            weights: How much each was liked.
            new: What `new_queries` gives of their profiles.
            least: What weighs less was disliked.
        """
        given = None if weights is None else finite_weights(weights, histories)
        return self._rows.space.liking(least).asked(histories, given, self.centre, new)

    def new_queries(self, profiles: Given | None, count: int) -> Vectors | None:
        """Give what so many users would ask behaviour with, had they done nothing: (B, R) float32; see `recommend`."""
        if profiles is None:
            return None
        if (taste := self._rows.space.profiles) is None:
            raise InputError("this bundle has not learned from profiles; leave them out, or give some to `fit`")
        if len(table := taste.table(profiles)) != count:
            raise ShapeError(f"{len(table)} profiles for {count} histories; give one for each, an empty one will do")
        return taste.queries(table)

    def pool(
        self,
        histories: Sequence[Sequence[str]],
        each: int = 50,
        *,
        user_ids: Sequence[str] = (),
        weights: Sequence[Sequence[float]] | None = None,
        profiles: Given | None = None,
    ) -> Candidates:
        """Give each user the candidates of all sources of the second stage, for `rerank`; items of the history are not.

        Args:
            histories: As for `recommend`.
            each: Candidates that a source may give.
            user_ids: B names for the answers.
            weights: As for `recommend`.
            profiles: As for `recommend`.

        Raises:
            InputError: When no second stage was learned.
        """
        if not isinstance(self.reranker, SecondStage):
            raise InputError("this bundle has no second stage, so no sources; call recommend, or learn one with `fit`")
        rows, given = self._pasts(histories, weights)
        facts = self.reranker.features.facts
        liked = [np.full(len(line), facts.usual, np.float32) for line in rows] if given is None else given
        asked = Asked(rows, liked, np.full(len(rows), facts.now, np.int64), self.new_queries(profiles, len(rows)))
        gone = np.flatnonzero(~self.bundle.alive)
        found = self.reranker.pool(asked, self.items, each, user_ids, gone=gone)
        return replace(found, learned=self.learned.learned_from)

    def _candidates(
        self, queries: Vectors, k: int, where: Where, exclude: Sequence[Rows] = (), kind: str | None = None
    ) -> Candidates:
        """Find by content alone."""
        return self._found(self._rows.space.searched(queries), k, where, exclude, kind)

    def _found(
        self, queries: Vectors, k: int, where: Where, exclude: Sequence[Rows] = (), kind: str | None = None
    ) -> Candidates:
        allow = allowed(self.bundle.attributes, where)
        search = retrieve_tastes if kind == "history" else retrieve
        scores, rows = search(self.index, queries, k, exclude=exclude, allow=allow, kind=kind)
        return Candidates(queries, rows, scores, self.items, "retrieve")
