"""What a refresh goes on from: the parts that are served, and until when they have seen the log."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from indexing.bundle import Bundle
from indexing.errors import TrainingError
from retrieval.adapter import Adapter
from retrieval.block import Block
from retrieval.description import Description
from retrieval.fit_report import FitConfig
from retrieval.fitted import Fitted
from retrieval.item_space import ItemSpace
from retrieval.learned import LearnedParts
from retrieval.prepare import History
from retrieval.second_stage import SecondStage
from retrieval.settings import settings_of


class InForce(NamedTuple):
    """The parts of a generation.

    Attributes:
        generation: Its name.
        until: The second of the last interaction that they were learned from.
        adapter: If there is one.
        block: With the serving that was chosen for it.
        reranker: If one was learned.
        space: What is served.
        description: How its items are described; None where nothing was learned that needs it.
        settings: How it was learned, as plain JSON values.
    """

    generation: str
    until: int
    adapter: Adapter | None
    block: Block | None
    reranker: SecondStage | None
    space: ItemSpace
    description: Description | None
    settings: dict[str, Any]

    @classmethod
    def of(cls, bundle: Bundle) -> "InForce":
        """Open what a bundle without changes has learned.

        Raises:
            TrainingError: When there is nothing to go on from, or nobody knows what came since.
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
        learned = LearnedParts(bundle)
        block = learned.block(bundle)
        space = ItemSpace.of(learned.content(bundle), learned.users, block, learned.profiles)
        ranker = learned.reranker(space, bundle)
        return cls(
            bundle.manifest.generation,
            int(told["until"]),
            learned.adapter,
            None if block is None else Block(block, told["serving"]),
            ranker if isinstance(ranker, SecondStage) else None,
            space,
            learned.description,
            told["config"],
        )

    @property
    def config(self) -> FitConfig:
        """How it was learned.

        Raises:
            InputError: When that was by settings which there are no more.
        """
        return settings_of(FitConfig, self.settings)

    @property
    def fitted(self) -> Fitted:
        """The parts, as those of a run."""
        return Fitted(self.adapter, self.block, self.reranker, self.space, self.description)

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
