"""The parts that one run of `fit` trained, and how they become a generation."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import INDEX, RECALL_CHECK, STAGED_ON, part_of
from indexing.bundle.index_files import held_out_queries, index_items
from indexing.bundle.maintenance.staged import stage
from indexing.bundle.manifest import Manifest
from indexing.bundle.publish import FITTING, make_current_when_unlocked, prepare, work_folder
from indexing.catalogue.item_ids import ItemIds
from indexing.filesystem import fsops
from indexing.index.config import parse_bytes
from retrieval.candidates import Candidates
from retrieval.interactions.histories import History
from retrieval.interactions.item_popularity import POPULARITY, ItemPopularity
from retrieval.interactions.learned_from import LEARNED_FROM, LearnedFrom
from retrieval.models.adapter import ADAPTER, Adapter
from retrieval.models.behaviour import BEHAVIOUR, Behaviour
from retrieval.models.features.item_features import DESCRIPTION, ItemFeatures
from retrieval.models.item_space import ItemSpace
from retrieval.models.profile_model import PROFILES, ProfileModel
from retrieval.ranking.reranker import RERANKER
from retrieval.ranking.second_stage import SecondStage, score_spread
from retrieval.retriever.learned_parts import behaviour_queries
from retrieval.training.config import BehaviourConfig


class ServedBehaviour(NamedTuple):
    """A behaviour block and its serving weights.

    Attributes:
        behaviour: As trained last.
        serving: The weight of each part of a query.
    """

    behaviour: Behaviour
    serving: dict[str, float]


PENALTY_RIDGE = 0.01  # of the mean diagonal; a penalty is then the same in all lists within a few percent
LEARNED = (ADAPTER, BEHAVIOUR, DESCRIPTION, LEARNED_FROM, POPULARITY, PROFILES, RERANKER)
LEARNED_FILES = (*LEARNED, INDEX, RECALL_CHECK)


class FittedModel(NamedTuple):
    """The trained parts, and the space that they make."""

    adapter: Adapter | None
    block: ServedBehaviour | None
    reranker: SecondStage | None
    space: ItemSpace
    description: ItemFeatures | None = None

    @property
    def profiles(self) -> ProfileModel | None:
        """The profile model, if one was trained."""
        return self.space.profiles

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts that are not None."""
        parts = {
            "adapter": self.adapter,
            "behaviour": self.block,
            "profiles": self.profiles,
            "reranker": self.reranker,
        }
        return tuple(name for name, part in parts.items() if part is not None)

    def penalties(self, count: int) -> NDArray[np.float64]:
        """Give the penalties of the reranker on N items, as those of a refresh have them: (N,) float64."""
        stage = self.reranker
        if stage is None or stage.penalties is None or stage.plain_penalties:
            return np.zeros(count)
        return stage.penalties.astype(np.float64)

    def penalty_effects(self, lists: Candidates) -> NDArray[np.float64] | None:
        """Give by how much a penalty of 1 lowers the scores of each list: (B,) float64; None where none can.

        Args:
            lists: Those of the parts without penalties.
        """
        if self.reranker is not None:
            return score_spread(lists.scores, lists.rows)[:, 0].astype(np.float64)
        if self.block is None:
            return None
        effects: NDArray[np.float64] = lists.queries[:, self.space.dim :] @ self._penalty_vector(lists)
        return effects

    def holding_back(self, penalties: NDArray[np.float64], lists: Candidates) -> "FittedModel":
        """Lower scores: by penalties of the reranker, or, without one, by moving behaviour vectors away from queries.

        Args:
            penalties: (N,) float64, in standard deviations of the scores of a list; 0 for most.
            lists: Those of the parts without penalties.
        """
        if self.reranker is not None:
            lowered = replace(self.reranker, penalties=penalties.astype(np.float32), plain_penalties=False)
            return self._replace(reranker=lowered)
        if self.block is None:
            return self
        items, rows = self.block.behaviour.items.copy(), np.flatnonzero(penalties)
        items[rows] -= np.outer(penalties[rows], self._penalty_vector(lists)).astype(np.float32)
        behaviour = replace(self.block.behaviour, items=items)
        space = ItemSpace.of(self.space.content, self.space.users, behaviour, self.space.profiles)
        return self._replace(block=self.block._replace(behaviour=behaviour), space=space)

    def _penalty_vector(self, lists: Candidates) -> NDArray[np.float64]:
        """Give the behaviour vector whose score is about the standard deviation of scores in every list: (R,) float64.

        It is a ridge regression of 1 on the queries of unit length. In the dimension of popularity it is 1, so that an
        item is held back for new users too.
        """
        queries = lists.queries[:, self.space.dim :].astype(np.float64)
        lengths = np.maximum(np.linalg.norm(queries, axis=1), 1e-12)
        units = queries / lengths[:, None]
        towers, rest = units[:, :-1], 1 - units[:, -1]
        gram = towers.T @ towers
        ridge = PENALTY_RIDGE * np.trace(gram) / max(len(gram), 1) + 1e-12
        solved = np.linalg.solve(gram + ridge * np.eye(len(gram)), towers.T @ rest)
        spreads = score_spread(lists.scores, lists.rows)[:, 0]
        vector: NDArray[np.float64] = float(np.median(spreads / lengths)) * np.append(solved, 1.0)
        return vector

    def files(self, histories: Sequence[History], items: ItemIds) -> dict[str, bytes]:
        """Return the parts as files of a generation, with a record of the training histories."""
        files: dict[str, bytes] = {}
        if self.names:
            files[LEARNED_FROM] = LearnedFrom.of(histories, items).to_bytes()
            files[POPULARITY] = ItemPopularity.of(histories, len(items), self.space.users).to_bytes()
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


def publish_fitted(
    current: Bundle, fitted: FittedModel, histories: Sequence[History], record: dict[str, Any], *, publish: bool = True
) -> Manifest:
    """Publish the parts as the next generation of a bundle, in place of those published before, or stage it.

    It is written without the lock of the bundle; see `make_current_when_unlocked`.

    Args:
        current: A bundle without changes.
        fitted: The parts.
        histories: Their training histories; a sample becomes queries that the index is tuned on.
        record: What the manifest keeps of the run.
        publish: Make it current; see `indexing.bundle.maintenance.staged` otherwise.

    Returns:
        The manifest of the generation.

    Raises:
        BundleError: When another generation became current meanwhile; that one stays.
    """
    work = work_folder(current.root, FITTING)
    record = record if publish else {**record, STAGED_ON: current.state.generation}
    try:
        folder = _prepared(current, fitted, histories, record, work)
    finally:
        fsops.remove(work)
    if publish:
        make_current_when_unlocked(current.root, folder, current.state.generation, "fit")
        return Bundle.open(current.root).manifest
    return stage(current.root, folder)


def _prepared(
    current: Bundle, fitted: FittedModel, histories: Sequence[History], record: dict[str, Any], work: Path
) -> Path:
    index_files, index_section = _indexed(current, fitted.space, histories, work)
    names = [record.name for record in current.manifest.files if part_of(record.name) not in LEARNED_FILES]
    files = {**{name: current.folder / name for name in names}, **fitted.files(histories, current.items), **index_files}
    manifest = replace(current.manifest, index=index_section, learned=record, features=fitted.names)
    return prepare(current.root, manifest, files, FITTING)


def _indexed(
    bundle: Bundle, space: ItemSpace, histories: Sequence[History], work: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Build the index to the goals of the bundle, with real histories among its tuning queries."""
    config, frozen = bundle.manifest.index_config(), bundle.modality_vectors
    queries = held_out_queries(frozen, space.content, config.sample, given=bundle.generation.sample_queries)
    if space.behaviour is not None:
        sample = [
            histories[position] for position in np.random.default_rng(0).permutation(len(histories))[: config.sample]
        ]
        queries = behaviour_queries(
            space, queries, [history.rows for history in sample], [history.weights for history in sample]
        )
    return index_items(frozen, space.indexed, config, work, queries)


def check_index_memory(bundle: Bundle, behaviour: BehaviourConfig | None) -> None:
    """Check, before training, that an index in shards can be built with the dimensions of the behaviour block."""
    config = bundle.manifest.index_config()
    if config.kind == "sharded" and behaviour is not None:
        from indexing.index.backends.build_sharded import (  # FAISS is loaded only by those who build
            DEFAULT_MEMORY,
            Plan,
        )

        dim = bundle.manifest.encoder.dim + behaviour.width
        Plan.within(parse_bytes(config.max_memory or DEFAULT_MEMORY), dim, on_disk=config.on_disk)
