"""What one run of learning has made, and how it becomes a generation."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows
from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import INDEX, PROMISE, part_of
from indexing.bundle.index_files import held_out_queries, index_items
from indexing.bundle.publish import FITTING, make_current_when_unlocked, prepare, work_folder
from indexing.catalogue.item_ids import ItemIds
from indexing.filesystem import fsops
from indexing.index.config import parse_bytes
from retrieval.features.item_features import DESCRIPTION, ItemFeatures
from retrieval.interactions.histories import History
from retrieval.interactions.learned_from import LEARNED_FROM, LearnedFrom
from retrieval.models.adapter import ADAPTER, Adapter
from retrieval.models.behaviour import BEHAVIOUR, Behaviour
from retrieval.models.item_space import ItemSpace
from retrieval.models.profile_model import PROFILES, ProfileModel
from retrieval.ranking.reranker import RERANKER
from retrieval.ranking.second_stage import SecondStage
from retrieval.retriever.learned_parts import behaviour_queries
from retrieval.training.config import BehaviourConfig


class ServedBehaviour(NamedTuple):
    """A behaviour block with how it is served.

    Attributes:
        behaviour: As it was learned last.
        serving: How much each part of a query counts.
    """

    behaviour: Behaviour
    serving: dict[str, float]


SHRINK = 0.8  # of the behaviour of an item that is shown too much, each time
LEARNED = (ADAPTER, BEHAVIOUR, DESCRIPTION, LEARNED_FROM, PROFILES, RERANKER)
LEARNED_FILES = (*LEARNED, INDEX, PROMISE)


class FittedModel(NamedTuple):
    """What was learned, and the space that it makes."""

    adapter: Adapter | None
    block: ServedBehaviour | None
    reranker: SecondStage | None
    space: ItemSpace
    description: ItemFeatures | None = None

    @property
    def profiles(self) -> ProfileModel | None:
        """What profiles say, if that was learned."""
        return self.space.profiles

    @property
    def names(self) -> tuple[str, ...]:
        """The parts that there are."""
        parts = {
            "adapter": self.adapter,
            "behaviour": self.block,
            "profiles": self.profiles,
            "reranker": self.reranker,
        }
        return tuple(name for name, part in parts.items() if part is not None)

    def holding_back(self, taken: NDArray[np.float64], more: Rows) -> "FittedModel":
        """Take something from the scores of items by the head; without one shrink what behaviour says of some.

        Args:
            taken: (N,), 0 for most.
            more: The items that are still shown too much.
        """
        if self.reranker is not None:
            return self._replace(reranker=replace(self.reranker, penalties=taken.astype(np.float32)))
        if self.block is None:
            return self
        items = self.block.behaviour.items.copy()
        items[more] *= np.float32(SHRINK)
        behaviour = replace(self.block.behaviour, items=items)
        space = ItemSpace.of(self.space.content, self.space.users, behaviour, self.space.profiles)
        return self._replace(block=self.block._replace(behaviour=behaviour), space=space)

    def files(self, pasts: Sequence[History], items: ItemIds) -> dict[str, bytes]:
        """Give the parts as files of a generation, and with them what histories they were learned from."""
        files: dict[str, bytes] = {}
        if self.names:
            files[LEARNED_FROM] = LearnedFrom.of(pasts, items).to_bytes()
        if self.adapter is not None:
            files[ADAPTER] = self.adapter.to_bytes()
        if self.block is not None:
            files[BEHAVIOUR] = self.block.behaviour.to_bytes()
        if self.description is not None and (self.block is not None or self.reranker is not None):
            files[DESCRIPTION] = self.description.to_bytes()
        if self.profiles is not None:
            files[PROFILES] = self.profiles.to_bytes()
        if self.reranker is not None:
            files[RERANKER] = self.reranker.to_bytes()
        return files


def publish_fitted(old: Bundle, fitted: FittedModel, pasts: Sequence[History], told: dict[str, Any]) -> Bundle:
    """Publish what was learned of a bundle as its next generation; what was learned before is left out.

    It is written without the lock of the bundle; see `make_current_when_unlocked`.

    Args:
        old: Without changes.
        fitted: The parts.
        pasts: What they were learned from; some become queries that the index is tuned on.
        told: What the manifest says of it.

    Raises:
        BundleError: When another generation was put in force meanwhile; that one stays.
    """
    work = work_folder(old.root, FITTING)
    try:
        folder = _prepared(old, fitted, pasts, told, work)
    finally:
        fsops.remove(work)
    make_current_when_unlocked(old.root, folder, old.state.generation, "fit")
    return Bundle.open(old.root)


def _prepared(old: Bundle, fitted: FittedModel, pasts: Sequence[History], told: dict[str, Any], work: Path) -> Path:
    index_files, index_section = _indexed(old, fitted.space, pasts, work)
    names = [record.name for record in old.manifest.files if part_of(record.name) not in LEARNED_FILES]
    files = {**{name: old.folder / name for name in names}, **fitted.files(pasts, old.items), **index_files}
    manifest = replace(old.manifest, index=index_section, learned=told, features=fitted.names)
    return prepare(old.root, manifest, files, FITTING)


def _indexed(
    bundle: Bundle, space: ItemSpace, pasts: Sequence[History], work: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Index to the goals of the bundle, which real histories are now among the queries for."""
    config, frozen = bundle.manifest.index_config(), bundle.modality_vectors
    asked = held_out_queries(frozen, space.content, config.sample)
    if space.behaviour is not None:
        chosen = [pasts[line] for line in np.random.default_rng(0).permutation(len(pasts))[: config.sample]]
        asked = behaviour_queries(space, asked, [past.rows for past in chosen], [past.weights for past in chosen])
    return index_items(frozen, space.indexed, config, work, asked)


def check_index_memory(bundle: Bundle, behaviour: BehaviourConfig | None) -> None:
    """Check that an index in shards can be built with what behaviour adds, before anything is learned."""
    config = bundle.manifest.index_config()
    if config.kind == "sharded" and behaviour is not None:
        from indexing.index.backends.build_sharded import (  # FAISS is loaded only by those who build
            DEFAULT_MEMORY,
            Plan,
        )

        dim = bundle.manifest.encoder.dim + behaviour.width
        Plan.within(parse_bytes(config.max_memory or DEFAULT_MEMORY), dim, on_disk=config.on_disk)
