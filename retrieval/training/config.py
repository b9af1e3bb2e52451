"""Settings of content and behaviour; importing this module does not load torch.

Fields are what users may set. Constants in capitals are fixed: nothing in the project varies them. A subclass may
override one in an experiment or a test.
"""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class AdapterConfig:
    """How the adapter is trained.

    Attributes:
        hidden: Width H of the residual's hidden layer.
        epochs: Maximum number of passes over the users.
        max_steps: Limits the passes, so that they make about this many batches; there is always one pass.
        learning_rate: Of AdamW.
        anchor_weight: Weight of the loss that keeps vectors near the frozen ones, and so keeps text and image search.
        validation_fraction: Fraction of the users whose last interaction is held out for early stopping.
        patience: Epochs without a better validation loss before training stops; 0 never stops early.
        seed: Of initialisation and sampling.
    """

    hidden: int = 64
    epochs: int = 20
    max_steps: int = 1000
    learning_rate: float = 1e-3
    anchor_weight: float = 1.0
    validation_fraction: float = 0.1
    patience: int = 8
    seed: int = 0

    BATCH_SIZE: ClassVar[int] = 512
    """Targets in a batch; each is a negative for the others."""
    TARGETS_PER_USER: ClassVar[int] = 4
    """Targets drawn from each user in a pass."""
    UNIFORM_NEGATIVES: ClassVar[int] = 512
    """Further negatives of a batch, drawn uniformly from the catalogue. Without them, a rare target that is
    drawn would stand for a large part of the catalogue."""
    TEMPERATURE: ClassVar[float] = 0.07
    """Divides the cosines before the softmax."""
    MODALITY_DROPOUT: ClassVar[float] = 0.1
    """Fraction of the items with several modalities that lose one of them in a batch."""

    def epochs_for(self, users: int) -> int:
        """Give the number of passes over ``users`` users."""
        return min(self.epochs, max(1, self.max_steps * self.BATCH_SIZE // (self.TARGETS_PER_USER * max(users, 1))))


@dataclass(frozen=True)
class AttentionConfig:
    """How self-attention over histories is trained.

    Attributes:
        dims: E, length of a state.
        layers: Transformer blocks.
        heads: Attention heads of each block; they divide ``dims`` evenly.
        epochs: Maximum number of passes over the users.
        max_length: Only the last items of a history are read, this many.
        learning_rate: Of AdamW.
        dropout: Fraction of a history's items that are left out in training.
        seed: Of initialisation, sampling and dropout.
    """

    dims: int = 64
    layers: int = 1
    heads: int = 2
    epochs: int = 14
    max_length: int = 200
    learning_rate: float = 3e-3
    dropout: float = 0.3
    seed: int = 0

    BATCH_SIZE: ClassVar[int] = 16
    """Histories in a batch."""
    MAX_STEPS: ClassVar[int] = 1000
    """Limits the passes to about this many batches, and a single pass to exactly this many."""
    NUM_TARGETS: ClassVar[int] = 10
    """Next items that are targets of a position."""
    MAX_NEGATIVES: ClassVar[int] = 4096
    """Where users touched more items than this, a random sample of this size stands for all in each batch."""
    WEIGHT_DECAY: ClassVar[float] = 1e-2
    HIDDEN_DROPOUT: ClassVar[float] = 0.1
    """Fraction of the numbers of hidden states that are left out in training."""

    def epochs_for(self, users: int) -> int:
        """Give the number of passes over ``users`` users.

        >>> [AttentionConfig(epochs=14).epochs_for(users) for users in (900, 4000, 10**6)]
        [14, 4, 1]
        """
        return min(self.epochs, max(1, self.MAX_STEPS * self.BATCH_SIZE // max(users, 1)))


@dataclass(frozen=True)
class NextItemsConfig:
    """How the tower that predicts the next items of a history is trained.

    Attributes:
        dims: Length of its vectors.
        epochs: Maximum number of passes over the users.
        max_steps: Limits the passes, so that they make about this many batches; there is always one pass.
        num_targets: Next items that are targets of a cut.
        learning_rate: Of Adam.
        dropout: Fraction of a history's items that are left out in training.
        id_dropout: Fraction of the items that lose their own vector in a batch and must do with the one predicted from
            content.
        seed: Of initialisation, cuts and dropout.
    """

    dims: int = 63
    epochs: int = 16
    max_steps: int = 1500
    num_targets: int = 10
    learning_rate: float = 3e-3
    dropout: float = 0.5
    id_dropout: float = 0.3
    seed: int = 0

    BATCH_SIZE: ClassVar[int] = 128
    """Cuts in a batch."""
    CUTS_PER_HISTORY: ClassVar[int] = 3
    """Positions drawn in a history and pass: the items before one are the history, those after it the targets."""
    MAX_NEGATIVES: ClassVar[int] = 8192
    """Where users touched more items than this, a random sample of this size stands for all in each batch."""
    FEATURE_DROPOUT: ClassVar[float] = 0.5
    """Fraction of the item features that are left out of a batch."""
    PREDICTION_RATE: ClassVar[float] = 0.02
    """Learning rate of the prediction from item features, as a multiple of ``learning_rate``."""
    HALF_LIVES: ClassVar[tuple[float, float, float]] = (15.0, 3.0, 15.0)
    """Initial half-lives, in positions: of all items, of the latest items, of disliked items."""

    def epochs_for(self, users: int) -> int:
        """Give the number of passes over ``users`` users.

        >>> NextItemsConfig(epochs=16, max_steps=1500).epochs_for(20_000)
        3
        """
        return min(self.epochs, max(1, self.max_steps * self.BATCH_SIZE // (self.CUTS_PER_HISTORY * max(users, 1))))


@dataclass(frozen=True)
class BehaviourConfig:
    """How the behaviour block is learned.

    How much each part of it counts in a query is not set here: `fit` chooses that; see
    `retrieval.fitting.selection.serving_weights`.

    Attributes:
        ease_dims: Rank of the low-rank EASE tower, a linear autoencoder of histories in closed form.
        regularisation: λ of EASE.
        max_ease_items: EASE inverts a matrix of this many items, those with most interactions; others are predicted.
        decay_days: In popularity, an interaction this many days before the last one counts 1/e.
        ridge: Regularisation of the kernel ridge regression that predicts vectors from item features.
        shrinkage: Pseudo-count: an item with this many interactions is half its own vector, half the predicted one.
        next_items: The trained tower; None goes without.
        attention: Self-attention over histories, added to the queries of the towers; None goes without.
    """

    ease_dims: int = 63
    regularisation: float = 200.0
    max_ease_items: int = 6_000
    decay_days: float = 30.0
    ridge: float = 1.0
    shrinkage: float = 1.0
    next_items: NextItemsConfig | None = NextItemsConfig()
    attention: AttentionConfig | None = None

    EARLY_INTERACTIONS: ClassVar[float] = 60.0
    """In popularity, an interaction that this many of its user precede counts half: new users are answered with it."""
    DISLIKED_WEIGHT: ClassVar[float] = 0.3
    """In popularity, what an interaction counts whose weight is below the mean."""

    @property
    def width(self) -> int:
        """R, the dimensions of both towers, the bias of the trained one, and popularity.

        >>> BehaviourConfig().width
        128
        """
        return self.ease_dims + (self.next_items.dims + 1 if self.next_items else 0) + 1
