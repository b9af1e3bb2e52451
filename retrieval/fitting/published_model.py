"""What a refresh goes on from: the parts that are served, and until when they have seen the log."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from indexing.bundle.bundle import Bundle
from indexing.bundle.index_files import held_out_queries
from indexing.bundle.manifest import MANIFEST
from indexing.bundle.publish import Carried, Items
from indexing.errors import InputError, TrainingError, examples
from indexing.filesystem.checked_files import read_as
from indexing.runtime.arguments import check_kind, check_number, check_whole
from retrieval.features.item_features import ItemFeatures
from retrieval.fitting.fitted_model import LEARNED, FittedModel, ServedBehaviour
from retrieval.fitting.report import FitConfig
from retrieval.fitting.selection.serving_weights import RETURNING
from retrieval.interactions.histories import History
from retrieval.models.adapter import Adapter
from retrieval.models.behaviour import BEHAVIOUR, QueryWeights
from retrieval.models.item_space import ItemSpace
from retrieval.ranking.heads import BothHead
from retrieval.ranking.reranker import RERANKER
from retrieval.ranking.second_stage import SecondStage, carried_over
from retrieval.retriever.learned_parts import LearnedParts, behaviour_queries
from retrieval.training.ranker_config import StageConfig
from retrieval.training.settings import settings_of

AFRESH = "fit without refresh"


class PublishedModel(NamedTuple):
    """The parts of a generation.

    Attributes:
        generation: Its name.
        until: The second of the last interaction that they were learned from.
        adapter: If there is one.
        block: With the serving that was chosen for it.
        reranker: If one was learned.
        space: What is served.
        description: How its items are described; None where nothing was learned that needs it.
        settings: How it was learned, as plain JSON values; they are read when they are asked for.
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
        """Open what a bundle without changes has learned.

        Raises:
            TrainingError: When there is nothing to go on from, or nobody knows what came since.
            DamagedFileError: When the manifest tells it in a way that cannot be.
        """
        told = bundle.manifest.learned
        if not bundle.manifest.features:
            raise TrainingError(f"{bundle.root} has learned nothing that a refresh could go on from; fit without it")
        if "serving" not in told:
            raise TrainingError(f"{bundle.root} has learned by an earlier state of this program; fit without refresh")
        if told.get("until") is None:
            raise TrainingError(
                f"what {bundle.root} has learned came from a log without a clock, and nobody knows what came since; "
                "fit without refresh, or give the log a column timestamp"
            )
        where, learned = bundle.folder / MANIFEST, LearnedParts(bundle)
        block = learned.block(bundle)
        space = ItemSpace.of(learned.content(bundle), learned.users, block, learned.profiles)
        ranker = learned.reranker(space, bundle)
        return cls(
            bundle.manifest.generation,
            _until(told["until"], where),
            learned.adapter,
            None if block is None else ServedBehaviour(block, _serving(told["serving"], where)),
            ranker if isinstance(ranker, SecondStage) else None,
            space,
            learned.description,
            told.get("config"),
        )

    @property
    def config(self) -> FitConfig:
        """How it was learned.

        Raises:
            DamagedFileError: When that was by settings which there are no more, or which cannot be.
        """
        with read_as(f"learned.config in {self.generation}/{MANIFEST}", f"{AFRESH}, or say how to learn"):
            return settings_of(FitConfig, _without_both(self.settings))

    @property
    def fitted(self) -> FittedModel:
        """The parts, as those of a run."""
        return FittedModel(self.adapter, self.block, self.reranker, self.space, self.description)

    def going_on(self, pasts: Sequence[History], replay: float, seed: int) -> list[History]:
        """Give the users who did something since, whole, and so many times as many of the others, drawn at random.

        Args:
            pasts: All that may be learned from.
            replay: Others for each; what they did keeps the parts from forgetting it.
            seed: Of the draw.
        """
        new = [n for n, past in enumerate(pasts) if len(past.after(self.until))]
        others = np.setdiff1d(np.arange(len(pasts)), new)
        drawn = np.random.default_rng(seed).permutation(others)[: round(replay * len(new))]
        return [pasts[n] for n in sorted([*new, *drawn.tolist()])]


def _without_both(settings: Any) -> Any:  # noqa: ANN401 - plain JSON values
    """Let a stage that has both heads, as earlier versions learned them, be gone on from: a refresh learns no head."""
    stage = settings.get("head") if isinstance(settings, dict) else None
    if not isinstance(stage, dict) or stage.get("head") != BothHead.kind:
        return settings
    return settings | {"head": stage | {"head": StageConfig.head}}


def _until(second: object, where: Path) -> int:
    with read_as(f"learned.until in {where}", AFRESH):
        return min(check_whole(second, "it", 0), np.iinfo(np.int64).max)


def _serving(told: dict[str, float], where: Path) -> dict[str, float]:
    """Check how a block is served."""
    asked = QueryWeights._fields
    returning = [f"{RETURNING}{name}" for name in asked]
    with read_as(f"learned.serving in {where}", AFRESH):
        needed = [*asked, *(returning if any(name in told for name in returning) else [])]
        if missing := [name for name in needed if name not in told]:
            raise InputError(f"it lacks {examples(missing)}")
        if strange := sorted(set(told) - {*needed, "few", "attention"}):
            raise InputError(f"it names {examples(strange)}")
        for name, value in told.items():
            above = 0 if name.endswith("half_life") else -1
            check_number(
                value, name, f"expected a number {'of more than 0' if above == 0 else 'from 0'}", minimum=0, above=above
            )
    return told


def carry_over(bundle: Bundle, items: Items) -> Carried:
    """Take what a bundle has learned over to other items, for `indexing.build_bundle`.

    An item that the bundle has keeps what users taught of it; any other is predicted from its content and attributes,
    as one that is added.

    Args:
        bundle: The bundle in force, changes included.
        items: Those of the new generation.
    """
    check_kind(bundle, Bundle, "bundle", "give one opened with Bundle.open")
    check_kind(items, Items, "items", "build_bundle gives them")
    learned, known = LearnedParts(bundle), len(bundle.generation.items)
    rows = np.array([-1 if (row := bundle.items.row(item_id)) is None else row for item_id in items.ids], np.int64)
    block = learned.block(bundle)
    if block is not None and learned.description is not None:
        block = block.later(learned.description.of(items.frozen, items.attributes), rows)
    content = learned.project(items.frozen)
    vectors = content if block is None else block.joined(content)
    queries = held_out_queries(items.frozen, content, items.sample)
    if block is not None:
        queries = behaviour_queries(ItemSpace(vectors, learned.dim, learned.users, block), queries)
    files = {name: bundle.read(name) for name in LEARNED if bundle.has(name)}
    if block is not None:
        files[BEHAVIOUR] = block.to_bytes()
    if RERANKER in files:
        later = np.concatenate([np.arange(known), bundle.origins]) if bundle.batches else np.arange(known)
        origins = np.where(rows >= 0, later[rows], -1)
        kept = np.arange(known + len(rows)) >= known
        files[RERANKER] = carried_over(files[RERANKER], origins, kept)
    count = {"items": int((rows >= 0).sum()), "new items": int((rows < 0).sum())}
    told = dict(bundle.manifest.learned) | {"carried_over": count}
    return Carried(vectors, queries, files, told, bundle.manifest.features)
