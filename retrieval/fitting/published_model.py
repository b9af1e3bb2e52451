"""The published parts, which a refresh continues from, and the time of their last training interaction."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from indexing.bundle.bundle import Bundle
from indexing.bundle.index_files import held_out_queries
from indexing.bundle.manifest import MANIFEST
from indexing.bundle.publish import CarriedOver, NewItems
from indexing.errors import InputError, TrainingError, examples
from indexing.filesystem.checked_files import read_as
from indexing.runtime.arguments import check_kind, check_number, check_whole
from retrieval.fitting.fit_config import FitConfig, stored_config
from retrieval.fitting.fitted_model import LEARNED, FittedModel, ServedBehaviour
from retrieval.fitting.selection.serving_weights import RETURNING
from retrieval.interactions.histories import History
from retrieval.interactions.item_popularity import POPULARITY, ItemPopularity
from retrieval.models.adapter import Adapter
from retrieval.models.behaviour import BEHAVIOUR, QueryWeights
from retrieval.models.features.item_features import ItemFeatures
from retrieval.models.item_space import ItemSpace
from retrieval.ranking.reranker import RERANKER
from retrieval.ranking.second_stage import SecondStage
from retrieval.ranking.stored_stage import carried_over
from retrieval.retriever.learned_parts import LearnedParts, behaviour_queries

REPLAY = 1.0  # users without new interactions, for each user with some
HINT = "fit without refresh"


class PublishedModel(NamedTuple):
    """The parts of a generation.

    Attributes:
        generation: Its name.
        until: Time of the last training interaction, in seconds since 1970.
        adapter: The adapter, or None.
        block: The behaviour block with its serving weights, or None.
        reranker: The second stage, or None.
        space: The space that is served.
        description: Features of items; None where no part needs them.
        settings: The configuration of the run as plain JSON values, parsed by `config`.
    """

    generation: str
    until: int
    adapter: Adapter | None
    block: ServedBehaviour | None
    reranker: SecondStage | None
    space: ItemSpace
    description: ItemFeatures | None
    settings: Any

    @classmethod
    def of(cls, bundle: Bundle) -> "PublishedModel":
        """Open the parts of a bundle without changes.

        Raises:
            TrainingError: When no part was published, or it is unknown which interactions came later.
            DamagedFileError: When values in the manifest are not valid.
        """
        record = bundle.manifest.learned
        if not bundle.manifest.features:
            raise TrainingError(f"{bundle.root} has no trained parts to refresh; fit without refresh")
        if "serving" not in record:
            raise TrainingError(f"{bundle.root} was fitted by an earlier version; fit without refresh")
        if record.get("until") is None:
            raise TrainingError(
                f"{bundle.root} was fitted on a log without times, so new interactions are unknown; fit without "
                "refresh, or give the log a column timestamp"
            )
        path, learned = bundle.root / bundle.state.generation / MANIFEST, LearnedParts(bundle)
        block = learned.block(bundle)
        space = ItemSpace.of(learned.content(bundle), learned.users, block, learned.profiles)
        ranker = learned.reranker(space, bundle)
        return cls(
            bundle.state.generation,
            _until(record["until"], path),
            learned.adapter,
            None if block is None else ServedBehaviour(block, _serving(record["serving"], path)),
            ranker if isinstance(ranker, SecondStage) else None,
            space,
            learned.description,
            record.get("config"),
        )

    @property
    def config(self) -> FitConfig:
        """The configuration of the run.

        Raises:
            DamagedFileError: When it has unknown fields, or values that are not valid.
        """
        with read_as(f"learned.config in {self.generation}/{MANIFEST}", f"{HINT}, or give the settings"):
            return stored_config(self.settings)

    @property
    def fitted(self) -> FittedModel:
        """The parts, in the form of a new run."""
        return FittedModel(self.adapter, self.block, self.reranker, self.space, self.description)

    def replay_sample(self, histories: Sequence[History], seed: int, replay: float = REPLAY) -> list[History]:
        """Give the whole histories of users with new interactions, and of a random sample of the others.

        Args:
            histories: Of all users.
            seed: Of the sample.
            replay: Size of the sample, as a multiple of the users with new interactions. It keeps the parts from
                forgetting the others.
        """
        new = [n for n, history in enumerate(histories) if len(history.after(self.until))]
        others = np.setdiff1d(np.arange(len(histories)), new)
        sample = np.random.default_rng(seed).permutation(others)[: round(replay * len(new))]
        return [histories[n] for n in sorted([*new, *sample.tolist()])]


def _until(second: object, path: Path) -> int:
    with read_as(f"learned.until in {path}", HINT):
        return min(check_whole(second, "it", 0), np.iinfo(np.int64).max)


def _serving(record: dict[str, float], path: Path) -> dict[str, float]:
    """Check serving weights."""
    names = QueryWeights._fields
    returning = [f"{RETURNING}{name}" for name in names]
    with read_as(f"learned.serving in {path}", HINT):
        required = [*names, *(returning if any(name in record for name in returning) else [])]
        if missing := [name for name in required if name not in record]:
            raise InputError(f"it lacks {examples(missing)}")
        if unknown := sorted(set(record) - {*required, "few", "attention"}):
            raise InputError(f"it names {examples(unknown)}")
        for name, value in record.items():
            above = 0 if name.endswith("half_life") else -1
            check_number(
                value, name, f"expected a number {'of more than 0' if above == 0 else 'from 0'}", minimum=0, above=above
            )
    return record


def carry_over(bundle: Bundle, items: NewItems) -> CarriedOver:
    """Carry the parts of a bundle over to other items, for `indexing.build_bundle`.

    An item that the bundle has keeps its behaviour vector. Any other item is predicted from content and attributes, as
    an item that is added.

    Args:
        bundle: The current bundle, changes included.
        items: Those of the new generation.
    """
    check_kind(bundle, Bundle, "bundle", "give one opened with Bundle.open")
    check_kind(items, NewItems, "items", "build_bundle gives them")
    learned, num_items = LearnedParts(bundle), len(bundle.generation.items)
    rows = np.array([-1 if (row := bundle.items.row(item_id)) is None else row for item_id in items.ids], np.int64)
    block = learned.block(bundle)
    if block is not None and learned.description is not None:
        block = block.with_items(learned.description.of(items.frozen, items.attributes), rows)
    content = learned.project(items.frozen)
    vectors = content if block is None else block.joined(content)
    queries = held_out_queries(items.frozen, content, items.sample, given=items.queries)
    if block is not None:
        queries = behaviour_queries(ItemSpace(vectors, learned.dim, learned.users, block), queries)
    files = {name: bundle.read(name) for name in LEARNED if bundle.has(name)}
    if block is not None:
        files[BEHAVIOUR] = block.to_bytes()
    new_origins = np.concatenate([np.arange(num_items), bundle.origins]) if bundle.batches else np.arange(num_items)
    origins = np.where(rows >= 0, new_origins[rows], -1)
    kept = np.arange(num_items + len(rows)) >= num_items
    if RERANKER in files:
        files[RERANKER] = carried_over(files[RERANKER], origins, kept)
    if POPULARITY in files:
        files[POPULARITY] = ItemPopularity.from_bytes(files[POPULARITY], num_items).carried(origins, kept).to_bytes()
    count = {"items": int((rows >= 0).sum()), "new items": int((rows < 0).sum())}
    record = dict(bundle.manifest.learned) | {"carried_over": count}
    return CarriedOver(vectors, queries, files, record, bundle.manifest.features)
