"""One state of a bundle in memory: items, vectors, index, learned parts and encoder."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors, masked_sum, unit
from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import BRIDGE, WORDS
from indexing.bundle.word_files import WordSettings, changed_words, read_words, word_settings
from indexing.catalogue.item_ids import sampled_rows
from indexing.encoders import Encoder, load_encoder
from indexing.errors import DamagedFileError, InputError
from indexing.filesystem.checked_files import REPAIR_HINT
from indexing.filesystem.file_checks import Check
from indexing.index import FlatIndex, VectorIndex
from indexing.index.delta import DeltaIndex
from indexing.index.search import retrieve, retrieve_tastes
from indexing.index.words.word_index import WordIndex
from indexing.media.files import Modality
from indexing.runtime.arguments import check_flag, check_kind
from indexing.runtime.warn import warn
from retrieval.candidates import Candidates, require_candidates
from retrieval.candidates.sources import Source, codes_for
from retrieval.filters import Where, allowed
from retrieval.interactions.item_popularity import ItemPopularity
from retrieval.models.adapter import Adapter
from retrieval.models.behaviour import Behaviour
from retrieval.models.features.attribute_values import Attribute
from retrieval.models.item_space import ItemSpace
from retrieval.models.user_model import UserModel
from retrieval.postprocess.duplicates import GroupCodes, group_codes
from retrieval.ranking.confidence import MatchClassifier, fit_match_classifier
from retrieval.ranking.reranker import Reranker
from retrieval.retriever.index_status import (
    TEXTS_UNMEASURED,
    MeasuredRecall,
    Status,
    UnmeasuredQueriesWarning,
    measured_status,
    stored_recall_check,
    texts_are_unmeasured,
)
from retrieval.retriever.learned_parts import ItemRows, LearnedParts

if TYPE_CHECKING:  # FAISS is loaded only by those who search
    from indexing.index.delta_codes import AddedCodes

_SAMPLE = 2_000  # items of which the mean of a modality is taken
_SCORED = 1_024  # items whose scores stand for those of all


class HowOpened(TypedDict, total=False):
    """How a bundle is opened; see `Retriever.open`."""

    generation: str | None
    learned: bool
    check: Check


def open_bundle(
    path: Path | str, *, generation: str | None = None, learned: bool = True, check: Check = "all"
) -> Bundle:
    """Open a bundle, with what it learned or without; see `Bundle.open` and `Bundle.without_learned`."""
    bundle = Bundle.open(path, generation=generation, check=check)
    return bundle if check_flag(learned, "learned") else bundle.without_learned()


class LoadedBundle:
    """One state of a bundle in memory; safe to share between threads.

    Args:
        bundle: The opened bundle.
        encoder: The encoder that built it; loaded by name at the first text or image query when None.
        previous: An earlier state, from which is taken what has not changed; see `Retriever.latest`.

    """

    def __init__(
        self, bundle: Bundle, encoder: Encoder | None = None, *, previous: "LoadedBundle | None" = None
    ) -> None:
        check_kind(bundle, Bundle, "bundle", "give one opened with Bundle.open, or call Retriever.open")
        if previous is not None:
            check_kind(previous, LoadedBundle, "previous", "give a state, or None")
        self.bundle = bundle
        self.items = bundle.items
        if previous is not None and previous.bundle.generation is not bundle.generation:
            previous = None
        # The sum of an earlier state, from which that of this one differs by few rows.
        self._before = (previous.bundle.is_live, previous._total) if previous and "_total" in vars(previous) else None
        self.learned: LearnedParts = previous.learned if previous else LearnedParts(bundle)
        if encoder is not None and previous is None:
            bundle.check_encoder(encoder)
        self._encoder = encoder
        self._word_settings: WordSettings | None = previous._word_settings if previous else word_settings(bundle)
        self._words: list[WordIndex] = (
            previous._words if previous else []
        )  # of the generation, read when first asked for
        self._attributes: dict[str, Attribute] = {}  # read when first asked for
        self._group_codes: dict[str, GroupCodes] = {}
        self._matching: dict[str, MatchClassifier] = {}
        self._statistics: dict[str, tuple[Vectors, float]] = {}
        self.rows: ItemRows = ItemRows(bundle, self.learned, previous.rows if previous else None)
        if (dim := self._base.dim) != self.indexed.shape[1]:
            raise DamagedFileError(
                f"the index of {bundle.root} holds vectors of length {dim}, its items have "
                f"{self.indexed.shape[1]}; {REPAIR_HINT}"
            )
        self._codes: AddedCodes | None = self._coded(previous._codes if previous else None)
        self._recall: MeasuredRecall = (
            previous._recall if previous else MeasuredRecall(lambda: measured_status(bundle, self._base, self.indexed))
        )
        if bundle.generation.checks.mode == "all":  # or else each is opened or measured when it is first asked for
            _ = self.reranker, self.status
        else:
            bundle.generation.checks.start(self._recall.measure)

    @property
    def status(self) -> Status:
        """The recall of the index on the queries stored at build; not measured by files that are damaged."""
        checks = self.bundle.generation.checks
        measured = self._recall.now(wait=checks.mode != "background" and checks.progress.damaged is None)
        return measured.with_added(self._codes)

    @cached_property
    def reranker(self) -> Reranker:
        """What orders candidates."""
        return self.learned.reranker(self.space, self.bundle)

    @property
    def _base(self) -> VectorIndex:
        """The index over the items of the generation: its own, or of frozen vectors alone."""
        return self.bundle.index if self.bundle.generation.is_whole else self._frozen

    @cached_property
    def _frozen(self) -> FlatIndex:
        return FlatIndex(self.indexed[: self.bundle.manifest.items])

    @property
    def index(self) -> VectorIndex:
        """The index over all items, changes included."""
        self.refuse_damage()
        return self._index

    def refuse_damage(self) -> None:
        """Refuse to answer when a file was found to be damaged since this was opened.

        Raises:
            DamagedFileError: When one was.
        """
        self.bundle.generation.checks.raise_if_damaged()

    @cached_property
    def _index(self) -> VectorIndex:
        bundle = self.bundle
        if not bundle.batches:
            return self._base
        coded = None
        if self._codes is not None and self._codes.reached:
            from indexing.index.delta_codes import CodedRows

            coded = CodedRows(self._codes, self.indexed[self._codes.start : self._codes.stop])
        return DeltaIndex(self._base, self.indexed[bundle.manifest.items :], bundle.is_live, coded)

    @cached_property
    def words(self) -> WordIndex:
        """The index of the words of all items, changes included.

        Raises:
            InputError: When the bundle has none.
        """
        self.refuse_damage()
        if self._word_settings is None:
            raise InputError(
                f"{self.bundle.root} has no index of words",
                python="make one with indexing.index_words(FOLDER), which encodes nothing, or search by vector",
                cli=f"make one with `commonspace words {self.bundle.root}`, or use --mode vector",
                http='search with "mode": "vector"',
            )
        if not self._words:
            self.bundle.generation.check_part(WORDS)
            self._words.append(read_words(self.bundle.folder, self.bundle.manifest.items))
        return changed_words(self.bundle, self._words[0], self._word_settings.columns)

    @property
    def words_weight(self) -> float | None:
        """Share of the words in a hybrid search, as it was tuned; None where it was not."""
        return None if self._word_settings is None else self._word_settings.weight

    def _coded(self, known: "AddedCodes | None") -> "AddedCodes | None":
        """Give codes for a search of many added rows, measured with the queries stored at build."""
        bundle = self.bundle
        if not bundle.batches:
            return None
        from indexing.index.delta_codes import codes_for

        return codes_for(
            self._base,
            self.indexed,
            bundle.manifest.index_config(),
            lambda: {kind: one.queries for kind, one in stored_recall_check(bundle).ground_truth.items()},
            known,
        )

    @property
    def space(self) -> ItemSpace:
        """Item vectors, and what makes queries that fit them."""
        self.refuse_damage()
        return self.rows.space

    @property
    def vectors(self) -> Vectors:
        """The content of every row: (N, D) float32."""
        return self.space.content

    @property
    def indexed(self) -> Vectors:
        """What the index holds of every row, content and then behaviour: (N, D + R) float32.

        Of many items these are `LazyRows`, which stand for an array of which rows are read.
        """
        return self.space.indexed

    @property
    def behaviour(self) -> Behaviour | None:
        """What was learned of users, if anything."""
        return self.space.behaviour

    @cached_property
    def centre(self) -> Vectors:
        """The mean content of all items: (D,) float32."""
        mean: Vectors = (self._total / np.count_nonzero(self.bundle.is_live)).astype(np.float32)
        return mean

    @cached_property
    def sampled_rows(self) -> Rows:
        """Rows whose scores stand for those of all items; one item more or less changes at most one of them."""
        return sampled_rows(self.items, _SCORED, self.bundle.is_live)

    def modality_statistics(self, kind: str) -> tuple[Vectors, float]:
        """Give the mean vector, (D,) float32, of a sample of the items' texts, pictures or sounds, and their scale.

        The scale is the standard deviation of the scores that such a vector gives the items, as a query.

        Args:
            kind: ``"text"``, ``"image"`` or ``"audio"``; anything else, or a modality that no item has, is that of the
                items themselves.
        """
        if kind not in self._statistics:
            frozen, is_live = self.bundle.modality_vectors, self.bundle.is_live
            modality = next((modality for modality in frozen.modalities if modality == kind), None)
            exists = is_live if modality is None else is_live & frozen.exists[modality]
            if modality is None or not exists.any():
                self._statistics[kind] = self._statistics_of(self.vectors, is_live)
            else:
                self._statistics[kind] = self._statistics_of(frozen.vectors[modality], exists)
        return self._statistics[kind]

    def _statistics_of(self, queries: NDArray[Any], asking: Mask) -> tuple[Vectors, float]:
        asking_rows, rows = (sampled_rows(self.items, _SAMPLE, mask) for mask in (asking, self.bundle.is_live))
        sample = unit(queries[asking_rows])
        mean: Vectors = sample.mean(axis=0)
        scale = float((sample @ self.vectors[rows].T).std(axis=1).mean())
        return mean, scale if scale > 0 else 1.0

    @cached_property
    def _total(self) -> NDArray[np.float64]:
        """The sum of the content of all items: (D,)."""
        is_live, vectors = self.bundle.is_live, self.vectors
        known_sum, count = self.bundle.generation.content_sum, self.bundle.manifest.items
        if self._before is not None:
            was, total = self._before
        elif known_sum is not None:
            was, total = np.ones(count, np.bool_), known_sum
        else:
            return masked_sum(vectors, is_live)
        known = np.zeros(len(is_live), np.bool_)
        known[: len(was)] = was
        come, gone = np.flatnonzero(is_live & ~known), np.flatnonzero(known & ~is_live)
        added: NDArray[np.float64] = vectors[come].sum(axis=0, dtype=np.float64)
        removed: NDArray[np.float64] = vectors[gone].sum(axis=0, dtype=np.float64)
        changed: NDArray[np.float64] = total + added - removed
        return changed

    @cached_property
    def popularity(self) -> ItemPopularity | None:
        """How often each item was taken, if that was learned."""
        known, bundle = self.learned.popularity, self.bundle
        if known is None or not bundle.batches:
            return known
        return known.carried(bundle.origins, np.ones(len(bundle.items), np.bool_))

    @property
    def adapter(self) -> Adapter | None:
        """What the item vectors were learned with, if anything."""
        return self.learned.adapter

    @property
    def users(self) -> UserModel:
        """The user model."""
        return self.learned.users

    @property
    def known_encoder(self) -> Encoder | None:
        """The encoder, if it was given or loaded already."""
        return self._encoder

    @property
    def encoder(self) -> Encoder:
        """The encoder that built the bundle, loaded when first needed and then proven to be the same."""
        if self._encoder is None:
            self._encoder = encoder_of(self.bundle)
        return self._encoder

    def search(
        self,
        queries: Vectors,
        k: int,
        where: Where = (),
        exclude: Sequence[Rows] = (),
        *,
        kind: str | None = None,
        source: Source | None = None,
    ) -> Candidates:
        """Search the index.

        Args:
            queries: (B, D + R) float32.
            k: Answers a query.
            where: What every answer satisfies.
            exclude: For each query rows that are no answers.
            kind: What the queries are: ``"text"``, ``"image"``, ``"audio"``, ``"item"`` or ``"history"``.
            source: Where the hits come from, if that is known.
        """
        allow = allowed(self.bundle.attributes, where)
        find = retrieve_tastes if kind == "history" else retrieve
        scores, rows = find(self.index, queries, k, exclude=exclude, allow=allow, kind=kind)
        sources = None if source is None else codes_for(rows, source)
        return Candidates(queries, rows, scores, self.items, "retrieve", sources=sources)

    def search_content(
        self, queries: Vectors, k: int, where: Where = (), exclude: Sequence[Rows] = (), kind: str | None = None
    ) -> Candidates:
        """Search the index by content alone, with queries (B, D) float32; see `search`."""
        if kind == Modality.TEXT and texts_are_unmeasured(self.bundle.manifest):
            warn(f"the recall of texts is not known: {TEXTS_UNMEASURED}", UnmeasuredQueriesWarning)
        return self.search(self.space.content_queries(queries), k, where, exclude, kind=kind, source="content")

    def allowed_rows(self, where: Where) -> Mask | None:
        """Give the rows that may be answers, None for all: not deleted, and as the filter wants them."""
        is_live, wanted = self.bundle.is_live, allowed(self.bundle.attributes, where)
        if is_live.all():
            return wanted
        mask: Mask = is_live if wanted is None else is_live & wanted
        return mask

    def has_only_new(self, where: Where) -> bool:
        """Say whether a filter leaves items, and only such as have no interactions."""
        mask = allowed(self.bundle.attributes, where)
        return mask is not None and self.space.has_only_new(np.flatnonzero(mask & self.bundle.is_live))

    def attribute(self, name: str) -> Attribute:
        """Give the values of an attribute, read once."""
        check_kind(name, str, "attribute", "give the name of one, as text")
        if name not in self._attributes:
            self._attributes[name] = Attribute.named(self.bundle.attributes, name)
        return self._attributes[name]

    def group_codes(self, name: str) -> GroupCodes:
        """Give the groups of items with the same value of an attribute, read once; see `group_codes`."""
        if name not in self._group_codes:
            self._group_codes[name] = group_codes(self.bundle.attributes, name)
        return self._group_codes[name]

    def matching(self, kind: str) -> MatchClassifier:
        """Give what tells matches from others, learned from the bundle's own items once a kind of query."""
        if kind not in self._matching:
            self._matching[kind] = fit_match_classifier(self.bundle, self.vectors, kind)
        return self._matching[kind]

    def here(self, candidates: Candidates, name: str = "candidates") -> Candidates:
        """Give candidates with the rows that their items have in this state; those of this state as they are."""
        require_candidates(candidates, name)
        return candidates.pointing_into(self.items)


def encoder_of(bundle: Bundle) -> Encoder:
    """Load the encoder that built a bundle, and prove that it is the same."""
    built = bundle.manifest.encoder
    bridge = bundle.read(BRIDGE) if bundle.has(BRIDGE) else None
    encoder = load_encoder(built.name, precision=built.precision, bridge=bridge)
    bundle.check_encoder(encoder)
    return encoder
