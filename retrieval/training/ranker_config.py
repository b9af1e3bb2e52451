"""Settings of the second stage; importing this module does not load torch.

Fields are what users may set. Constants in capitals are fixed: nothing in the project varies them.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from retrieval.ranking.heads.base import HeadKind


@dataclass(frozen=True)
class HeadConfig:
    """How the neural head is trained.

    Attributes:
        hidden: Width H of a network's hidden layer.
        ensemble_size: Networks that are trained, each from its own initialisation; their mean score is used.
        epochs: Passes over the queries.
        min_steps: With few queries there are more passes, until there were this many batches.
        batch_size: Queries in a batch.
        learning_rate: Highest learning rate of AdamW.
        dropout: Fraction of the hidden units that are left out, the same ones for all candidates of a query.
        seed: Of initialisation, order and dropout.
    """

    hidden: int = 64
    ensemble_size: int = 2
    epochs: int = 15
    min_steps: int = 100
    batch_size: int = 64
    learning_rate: float = 4e-3
    dropout: float = 0.2
    seed: int = 0

    WEIGHT_DECAY: ClassVar[float] = 1e-2

    def epochs_for(self, queries: int) -> int:
        """Give the number of passes over ``queries`` queries.

        >>> HeadConfig(epochs=15, min_steps=100, batch_size=64).epochs_for(90)
        50
        """
        min_epochs = -(-self.min_steps // -(-queries // self.batch_size))
        return max(self.epochs, min_epochs) if self.epochs else 0


@dataclass(frozen=True)
class TreesConfig:
    """How trees are grown: parameters of LightGBM, by its names.

    Attributes:
        num_leaves: Leaves of a tree.
        num_boost_round: Number of trees.
        learning_rate: Shrinkage of each tree.
        min_data_in_leaf: Candidates in a leaf, at least.
        feature_fraction: Fraction of the features that a tree may use.
        lambdarank_truncation_level: Only pairs with a candidate above this rank are learned from.
        num_threads: Threads.
        seed: Of all sampling.
    """

    num_leaves: int = 15
    num_boost_round: int = 400
    learning_rate: float = 0.03
    min_data_in_leaf: int = 100
    feature_fraction: float = 0.5
    lambdarank_truncation_level: int = 30
    num_threads: int = 1
    seed: int = 0


@dataclass(frozen=True)
class SourcesConfig:
    """How candidate sources are learned.

    Attributes:
        num_neighbours: Neighbours kept of each item.
        max_ease_items: EASE inverts a matrix of this many items, those with most interactions.
        regularisation: λ of EASE.
        half_life: Of an item in a history, in positions, for EASE.
        window: An item that follows another within this many positions counts as its successor; 0 goes without that
            source.
        shrinkage: Pseudo-count: interactions without a successor that are added to those of each item.
        recent_days: Length of the period of recent popularity; 0 goes without that source.
    """

    num_neighbours: int = 200
    max_ease_items: int = 6000
    regularisation: float = 300.0
    half_life: float = 20.0
    window: int = 5
    shrinkage: float = 10.0
    recent_days: float = 14.0


@dataclass(frozen=True)
class StageConfig:
    """How the second stage is learned.

    Attributes:
        head: Kind of head; "trees" needs the extra ``trees``.
        candidates_per_source: Candidates that each source retrieves.
        min_relevance: Interactions with a lower weight are not relevant; when None, all are.
        new_users: Train on users without a history too, where the log is split so that there are some.
        neural: How the neural head is trained.
        trees: How trees are grown.
        sources: How sources are learned.
    """

    head: HeadKind = "neural"
    candidates_per_source: int = 50
    min_relevance: float | None = None
    new_users: bool = True
    neural: HeadConfig = field(default_factory=HeadConfig)
    trees: TreesConfig = field(default_factory=TreesConfig)
    sources: SourcesConfig = field(default_factory=SourcesConfig)
