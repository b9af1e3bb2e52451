"""What a bundle has learned, opened from its files, and carried over when its rows change."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from indexing.arrays import Growing, Rows, Vectors
from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import Generation
from indexing.bundle.index_files import held_out_queries, random_pairs
from indexing.bundle.maintenance.compact import compact as compact_bundle
from indexing.bundle.maintenance.repair import RepairReport
from indexing.bundle.maintenance.repair import repair as repair_bundle
from indexing.bundle.manifest import MANIFEST
from indexing.errors import DamagedFileError
from indexing.filesystem.checked_files import REPAIR_HINT, read_as
from indexing.index import Queries
from indexing.store.collect import ModalityVectors, fuse
from indexing.store.lazy_rows import ComputedRows, GrowingRows, LazyRows, SideBySide, fits_in_memory
from retrieval.interactions.event_types import EventTypes, LearnedEvents, beside_usual
from retrieval.interactions.item_popularity import POPULARITY, ItemPopularity
from retrieval.interactions.learned_from import LEARNED_FROM, LearnedFrom
from retrieval.models.adapter import ADAPTER, Adapter
from retrieval.models.behaviour import BEHAVIOUR, Behaviour
from retrieval.models.features.item_features import DESCRIPTION, ItemFeatures, views_of
from retrieval.models.item_space import ItemSpace
from retrieval.models.profile_model import PROFILES, ProfileModel
from retrieval.models.user_model import UserModel
from retrieval.ranking.reranker import NO_ROWS, RERANKER, ExactReranker, Reranker
from retrieval.ranking.second_stage import SecondStage
from retrieval.ranking.stored_stage import carried_over
from retrieval.training.settings import settings_of


class LearnedParts:
    """Adapter, behaviour block, user model and reranker of a bundle's generation.

    Attributes:
        dim: D, the dimensions of content.
        profiles: What profiles of users say, where that was learned.
        describes: Whether it says how items are described; see `description`.
        events: By which types of events their log was read; None where nothing was learned, or by an earlier state.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.dim = dim = bundle.manifest.encoder.dim
        self._generation = bundle.generation
        self.adapter = Adapter.from_bytes(bundle.read(ADAPTER), dim) if bundle.has(ADAPTER) else None
        self.behaviour = _behaviour(bundle) if bundle.has(BEHAVIOUR) else None
        self.describes = bundle.has(DESCRIPTION)
        self.profiles = self._profiles(bundle)
        told = bundle.manifest.learned.get("user_model")
        with read_as(f"learned.user_model in {bundle.folder / MANIFEST}", REPAIR_HINT):
            self.users = UserModel(min_relevance=None) if told is None else settings_of(UserModel, told)
        self._knows_dislikes = told is not None and not {"min_relevance", "least"}.isdisjoint(told)
        self.events = learned_events(bundle)
        if bundle.generation.checks.mode == "all":  # or else each is read when it is first asked for
            _ = self.description, self.learned_from, self.popularity, self._reranker

    @cached_property
    def description(self) -> ItemFeatures | None:
        """How items are described, where something was learned that needs it."""
        return ItemFeatures.from_bytes(self._generation.read(DESCRIPTION)) if self.describes else None

    @cached_property
    def learned_from(self) -> LearnedFrom | None:
        """Which interactions it was learned from; None where nothing was, or by an earlier state."""
        known = self._generation
        return LearnedFrom.from_bytes(known.read(LEARNED_FROM)) if known.has(LEARNED_FROM) else None

    @cached_property
    def popularity(self) -> ItemPopularity | None:
        """How often the items of the generation were taken; None by an earlier state."""
        known = self._generation
        if not known.has(POPULARITY):
            return None
        return ItemPopularity.from_bytes(known.read(POPULARITY), known.manifest.items)

    @cached_property
    def _reranker(self) -> bytes | None:
        return self._generation.read(RERANKER) if self._generation.has(RERANKER) else None

    def min_relevance(self, of_log: float | None) -> float | None:
        """Give the smallest weight that is no dislike: for ratings that of the ratings learned from.

        None is half of the largest weight of the same history, where nothing was learned.

        Args:
            of_log: What a log says of itself, 0 without ratings; it counts where nothing was learned. None without a
                log. What this gives may be given again, and stays as it is.
        """
        return self.users.min_relevance if of_log is None or (of_log and self._knows_dislikes) else of_log

    @property
    def event_types(self) -> EventTypes | None:
        """What the types of events of the log mean that was learned from; None where that was not said."""
        return None if self.events is None else self.events.types

    @cached_property
    def live_types(self) -> EventTypes:
        """The types of events that were learned from, so that live histories weigh as in training, and usual others."""
        return beside_usual(self.event_types)

    def _profiles(self, bundle: Bundle) -> ProfileModel | None:
        if not bundle.has(PROFILES):
            return None
        taste = ProfileModel.from_bytes(bundle.read(PROFILES))
        if self.behaviour is None or taste.weights.shape[1] != self.behaviour.items.shape[1] - 1:
            raise DamagedFileError("the profile model does not fit the behaviour block: fit again, or go back")
        return taste

    def project(self, items: ModalityVectors) -> Vectors:
        """Give the content, (N, D) float32, of frozen vectors."""
        return self.adapter.apply(items) if self.adapter else fuse(items)

    def content_rows(self, generation: Generation) -> LazyRows:
        """Give the content vectors of the items of a generation, computed from the frozen ones when they are asked for.

        They are the same, to the bit, as those that `content` gives.
        """
        frozen = generation.modality_vectors
        return ComputedRows((frozen.count, self.dim), lambda rows: self.project(frozen.take(rows)))

    def content(self, bundle: Bundle, start: int = 0) -> Vectors:
        """Give the content vectors of the rows of a bundle from ``start`` on: (M, D) float32."""
        frozen = bundle.modality_vectors
        return self.project(frozen.take(slice(start, None)) if start else frozen)

    def block(self, bundle: Bundle, start: int = 0) -> Behaviour | None:
        """Give the behaviour block of the rows of a bundle from ``start`` on, if there is one."""
        if self.behaviour is None or not self.describes:
            return None
        known = bundle.manifest.items
        if not bundle.batches:
            return self.behaviour.take(np.arange(start, known)) if start else self.behaviour
        if self.description is None:
            raise DamagedFileError("there is a behaviour block, but not how it describes items: fit again, or go back")
        new = np.arange(max(start, known), len(bundle.items))
        described = self.description.of(bundle.modality_vectors.take(new), bundle.put_attributes.take(new))
        later = self.behaviour.with_items(described, bundle.origins[new - known])
        return later if start >= known else self.behaviour.take(np.arange(start, known)).followed_by(later)

    def item_vectors(self, bundle: Bundle, start: int = 0) -> Vectors:
        """Give the indexed vectors of the rows from ``start`` on: (M, D + R) float32, content and behaviour."""
        content, block = self.content(bundle, start), self.block(bundle, start)
        return block.joined(content) if block else content

    def item_rows(self, bundle: Bundle) -> Vectors:
        """Give the indexed vectors of all rows, (M, D + R) float32: of many, what computes them when rows are read."""
        return ItemRows(bundle, self).space.indexed

    def queries(self, bundle: Bundle, vectors: Vectors, sample: int) -> dict[str, Queries]:
        """Give held-out queries for an index over the living rows of a bundle, (N, D + R) float32."""
        frozen = bundle.modality_vectors.selected(bundle.is_live)
        asked = held_out_queries(frozen, vectors[:, : self.dim], sample, given=bundle.generation.sample_queries)
        if (block := self.block(bundle)) is None:
            return asked
        return behaviour_queries(ItemSpace(vectors, self.dim, self.users, block.take(bundle.is_live)), asked)

    def reranker(self, space: ItemSpace, bundle: Bundle) -> Reranker:
        """Give what orders candidates: the learned second stage if there is one.

        Args:
            space: All rows of the bundle, as they are served.
            bundle: The rows, and which of them were added after learning.
        """
        if self._reranker is None:
            return ExactReranker(space.indexed)
        if self.description is None:
            raise DamagedFileError("there is a second stage, but not how it describes items: fit again, or go back")
        views = views_of(self.description, bundle.modality_vectors, bundle.attributes)
        return SecondStage.from_bytes(self._reranker, space, views, bundle.origins if bundle.batches else NO_ROWS)

    def files(self, bundle: Bundle) -> dict[str, bytes]:
        """Give the learned files that have one entry for each row, for the live rows of a bundle."""
        files = {}
        if self._reranker is not None:
            files[RERANKER] = carried_over(self._reranker, bundle.origins, bundle.is_live)
        if self.popularity is not None:
            files[POPULARITY] = self.popularity.carried(bundle.origins, bundle.is_live).to_bytes()
        if block := self.block(bundle):
            files[BEHAVIOUR] = block.take(bundle.is_live).to_bytes()
        return files


def learned_events(bundle: Bundle) -> LearnedEvents | None:
    """Say by which types of events the log was read that a bundle learned from.

    Raises:
        DamagedFileError: When the manifest holds none that can be read.
    """
    with read_as(f"learned.events in {bundle.folder / MANIFEST}", REPAIR_HINT):
        return LearnedEvents.of(bundle.manifest.learned)


def behaviour_queries(
    space: ItemSpace,
    asked: dict[str, Queries],
    histories: Sequence[Rows] = (),
    weights: Sequence[Vectors] | None = None,
) -> dict[str, Queries]:
    """Make queries for content and behaviour of queries for content, (B, D + R) float32.

    Args:
        space: Of N items, with behaviour.
        asked: Queries for content by kind; those of kind ``"history"`` are computed again.
        weights: How much each was liked.
        histories: What users did; pairs of items drawn at random when there are none.
    """
    found = {kind: Queries(space.content_queries(one.vectors), one.item_rows) for kind, one in asked.items()}
    if "history" in asked:
        count = len(asked["history"].vectors)
        rows = list(histories)[:count] or list(random_pairs(len(space.indexed), count))
        found["history"] = Queries(space.user_queries(rows, weights[: len(rows)] if weights else None))
    return found


def queries_for(bundle: Bundle) -> dict[str, Queries]:
    """Give the held-out queries of each kind that an index over the served vectors of a bundle is tuned on."""
    parts = LearnedParts(bundle)
    return parts.queries(bundle, parts.item_vectors(bundle), bundle.manifest.index_config().sample)


def compact(root: Path | str) -> Bundle:
    """Fold the changes since the current generation into a new one; see `indexing.bundle.maintenance.compact`."""
    return compact_bundle(root, LearnedParts)


def repair(root: Path | str, *, drop_changes: bool = False) -> RepairReport:
    """Mend a bundle as far as its vectors allow, as `indexing.bundle.maintenance.repair.repair` says."""
    return repair_bundle(root, LearnedParts, drop_changes=drop_changes)


class ItemRows:
    """The vectors of each row of a bundle; arrays that several states of a generation share are in memory once.

    Args:
        bundle: With its changes.
        learned: What its generation has learned.
        previous: The rows of an earlier state of the same generation.

    Attributes:
        space: Of all rows, also of those that are gone.
    """

    def __init__(self, bundle: Bundle, learned: LearnedParts, previous: "ItemRows | None" = None) -> None:
        start = len(previous.space.indexed) if previous else bundle.manifest.items
        self._tables: tuple[GrowingRows | Growing, ...] = (
            previous._tables if previous else _tables(bundle.generation, learned)
        )
        content, block = learned.content(bundle, start), learned.block(bundle, start)
        new = (content,) if block is None else (block.joined(content), block.context_factors, block.confidence)
        grown = [table.extended(start, more) for table, more in zip(self._tables, new, strict=True)]
        if block is not None:
            block = replace(block, items=grown[0][:, learned.dim :], context_factors=grown[1], confidence=grown[2])
        self.space: ItemSpace = ItemSpace(grown[0], learned.dim, learned.users, block, learned.profiles, bundle.is_live)


def _tables(generation: Generation, learned: LearnedParts) -> tuple[GrowingRows | Growing, ...]:
    """Give the vectors of the items of a generation, and what else the behaviour block has of each of them."""
    content, block = learned.content_rows(generation), learned.behaviour
    if block is None or not learned.describes:
        return (GrowingRows(content),)
    if len(block.confidence) != len(content):
        raise DamagedFileError(
            f"the behaviour block knows {len(block.confidence)} items, the bundle {len(content)}: fit again, or go back"
        )
    return (
        GrowingRows(SideBySide(content, block.items)),
        GrowingRows(block.context_factors),
        Growing(np.asarray(block.confidence)),
    )


def _behaviour(bundle: Bundle) -> Behaviour:
    """Read the behaviour block, with tables of its items that are mapped where they are large."""
    path = bundle.folder / BEHAVIOUR
    if fits_in_memory(path.stat().st_size):
        return Behaviour.from_bytes(bundle.read(BEHAVIOUR))
    bundle.generation.check_part(BEHAVIOUR)
    return Behaviour.open(path)
