"""How the second stage learns, one small dataclass each; kept apart so that reading them does not import torch."""

from dataclasses import dataclass, field

from retrieval.ranking.heads.base import HeadKind


@dataclass(frozen=True)
class HeadConfig:
    """How the reranking head learns.

    Attributes:
        hidden: Width H of a network.
        networks: How many learn, each from a start of its own; their mean is used.
        epochs: Passes over the queries.
        least_steps: Few queries are passed over more often, until so many batches were seen.
        batch_size: Queries a batch.
        learning_rate: Of Adam, at its highest.
        weight_decay: Draws weights to nothing.
        dropout: Share of the hidden units that are left out for all candidates of a query.
        seed: Of initialisation, order and dropout.
    """

    hidden: int = 64
    networks: int = 2
    epochs: int = 15
    least_steps: int = 100
    batch_size: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 1e-2
    dropout: float = 0.2
    seed: int = 0

    def epochs_for(self, queries: int) -> int:
        """Give the passes over so many queries.

        >>> HeadConfig(epochs=15, least_steps=100, batch_size=64).epochs_for(90)
        50
        """
        fewest = -(-self.least_steps // -(-queries // self.batch_size))
        return max(self.epochs, fewest) if self.epochs else 0


@dataclass(frozen=True)
class TreesConfig:
    """How trees are grown.

    Attributes:
        leaves: Of a tree.
        rounds: Trees.
        learning_rate: Share of a tree that counts.
        fewest: Candidates in a leaf.
        columns: Share of the features that a tree may read.
        top: The order further down is not learned.
        threads: How many.
        seed: Of what is drawn.
    """

    leaves: int = 15
    rounds: int = 400
    learning_rate: float = 0.03
    fewest: int = 100
    columns: float = 0.5
    top: int = 30
    threads: int = 1
    seed: int = 0


@dataclass(frozen=True)
class SourcesConfig:
    """How sources learn.

    Attributes:
        neighbours: Kept of each item.
        most_items: EASE inverts a matrix of so many items, the most touched.
        regularisation: Of EASE.
        half_life: In a history, for EASE.
        ahead: What follows an item within so many steps counts as coming next; 0 goes without that source.
        doubt: So many further interactions of an item that led nowhere are assumed.
        days: Of what is popular of late; 0 goes without.
    """

    neighbours: int = 200
    most_items: int = 6000
    regularisation: float = 300.0
    half_life: float = 20.0
    ahead: int = 5
    doubt: float = 10.0
    days: float = 14.0


@dataclass(frozen=True)
class StageConfig:
    """How the second stage learns.

    Attributes:
        head: Which kind of head; "trees" needs the extra ``trees``.
        each: Candidates that a source may bring up.
        least: Only what weighs so much is relevant; all that is touched when None.
        new_users: Let the head learn to order candidates for users without a history too, where the log is cut so that
            there are some.
        neural: How the neural head learns.
        trees: How trees do.
        sources: How sources learn.
    """

    head: HeadKind = "neural"
    each: int = 50
    least: float | None = None
    new_users: bool = True
    neural: HeadConfig = field(default_factory=HeadConfig)
    trees: TreesConfig = field(default_factory=TreesConfig)
    sources: SourcesConfig = field(default_factory=SourcesConfig)
