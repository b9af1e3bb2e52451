"""The item space of a bundle, growing as its changes are followed."""

from dataclasses import replace

from indexing.arrays.growing import Growing
from indexing.bundle.bundle import Bundle
from retrieval.models.item_space import ItemSpace
from retrieval.retriever.learned_parts import LearnedParts


class ItemRows:
    """What is known of each row of a bundle; what several states of a generation share is in memory once.

    Args:
        bundle: With its changes.
        learned: What its generation has learned.
        previous: The rows of an earlier state of the same generation.

    Attributes:
        space: Of all rows, also of those that are gone.
    """

    def __init__(self, bundle: Bundle, learned: LearnedParts, previous: "ItemRows | None" = None) -> None:
        start = len(previous.space.indexed) if previous else 0
        content, block = learned.content(bundle, start), learned.block(bundle, start)
        tables = (content,) if block is None else (block.joined(content), block.said, block.confidence)
        self._tables: tuple[Growing, ...] = previous._tables if previous else tuple(map(Growing, tables))
        grown = [table.extended(start, more) for table, more in zip(self._tables, tables, strict=True)]
        if block is not None:
            block = replace(block, items=grown[0][:, learned.dim :], said=grown[1], confidence=grown[2])
        self.space: ItemSpace = ItemSpace(grown[0], learned.dim, learned.users, block, learned.profiles, bundle.alive)
