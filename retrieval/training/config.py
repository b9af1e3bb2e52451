"""How the parts learn, one small dataclass each; kept apart so that reading them does not import torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AdapterConfig:
    """How the adapter learns.

    Attributes:
        hidden: Width H of the residual.
        epochs: Most passes over the users.
        most_steps: No more passes than make so many batches, but one at least.
        targets: Targets drawn from a user in each pass.
        batch_size: Targets, and so negatives, a batch.
        uniform: Further negatives a batch, drawn from the whole catalogue alike. Without them a rare target stands for
            so much of the catalogue when it is drawn that learning is unsteady.
        learning_rate: Of Adam.
        temperature: Divides the cosines before the softmax.
        stay: Weight of staying near the frozen vectors, which keeps text and image search.
        modality_dropout: Share of the items with several modalities that are seen without one, in each batch.
        held_out: Share of the users whose last interaction is held out, to stop early and keep the best state.
        patience: Passes without a better loss on what is held out before it stops.
        seed: Of initialisation and sampling.
    """

    hidden: int = 64
    epochs: int = 20
    most_steps: int = 1000
    targets: int = 4
    batch_size: int = 512
    uniform: int = 512
    learning_rate: float = 1e-3
    temperature: float = 0.07
    stay: float = 1.0
    modality_dropout: float = 0.1
    held_out: float = 0.1
    patience: int = 8
    seed: int = 0

    def epochs_for(self, users: int) -> int:
        """Give the passes over so many users."""
        return min(self.epochs, max(1, self.most_steps * self.batch_size // (self.targets * max(users, 1))))


@dataclass(frozen=True)
class AttentionConfig:
    """How attention over histories learns.

    Attributes:
        dims: E, length of a state.
        layers: Blocks, one after the other.
        heads: Of each, that part the state among them.
        epochs: Most passes over the users.
        most_steps: Batches in all, or nearly: no more passes than make so many, and of one pass no more than so many.
        negatives: Where users touched more items than that, so many drawn at random stand for all in each batch.
        ahead: So many next items are found from each position.
        longest: So many items of a history are read, the last.
        batch_size: Histories a batch.
        learning_rate: Of Adam.
        weight_decay: Draws weights to nothing.
        dropout: Share of a history's items that are left out of it.
        hidden_dropout: Share of the numbers of states that are left out.
        seed: Of initialisation, what is read and dropout.
    """

    dims: int = 64
    layers: int = 1
    heads: int = 2
    epochs: int = 14
    most_steps: int = 1000
    negatives: int = 4096
    ahead: int = 10
    longest: int = 200
    batch_size: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    dropout: float = 0.3
    hidden_dropout: float = 0.1
    seed: int = 0

    def epochs_for(self, users: int) -> int:
        """Give the passes over so many users.

        >>> [AttentionConfig(epochs=14, most_steps=1000).epochs_for(users) for users in (900, 4000, 10**6)]
        [14, 4, 1]
        """
        return min(self.epochs, max(1, self.most_steps * self.batch_size // max(users, 1)))


@dataclass(frozen=True)
class NextItemsConfig:
    """How a tower learns to tell the next items of a history.

    Attributes:
        dims: Length of its vectors.
        epochs: Most passes over the users.
        most_steps: No more passes than make so many batches, but one at least: many users teach enough in few.
        negatives: Where users touched more items than that, so many drawn at random stand for all in each batch.
        cuts: Places drawn in each history and pass; what is before is the history, what follows should be found.
        ahead: So many next items are found.
        batch_size: Histories a batch.
        learning_rate: Of Adam.
        dropout: Share of a history's items that are left out of it.
        id_dropout: Share of items that have to do with what is predicted from content, in each batch.
        feature_dropout: Share of the description's columns that are left out of each batch.
        predicting: Learning rate of that prediction, as a multiple.
        half_lives: In positions of a history, at the start: of all of it, of what was done just now, of what was
            disliked.
        seed: Of initialisation, cuts and dropout.
    """

    dims: int = 63
    epochs: int = 16
    most_steps: int = 1500
    negatives: int = 8192
    cuts: int = 3
    ahead: int = 10
    batch_size: int = 128
    learning_rate: float = 3e-3
    dropout: float = 0.5
    id_dropout: float = 0.3
    feature_dropout: float = 0.5
    predicting: float = 0.02
    half_lives: tuple[float, float, float] = (15.0, 3.0, 15.0)
    seed: int = 0

    def epochs_for(self, users: int) -> int:
        """Give the passes over so many users.

        >>> NextItemsConfig(epochs=16, most_steps=1500, cuts=3, batch_size=128).epochs_for(20_000)
        3
        """
        return min(self.epochs, max(1, self.most_steps * self.batch_size // (self.cuts * max(users, 1))))


@dataclass(frozen=True)
class BehaviourConfig:
    """How the behaviour block is learned.

    `fit` chooses half-life, share, popular, content and few anew, whatever is said here; see
    `retrieval.fitting.selection.serving_weights`.

    Half-life and weights are what a cut in time chose on MovieLens; a split by user chooses a half-life of 10 items,
    a share of 2.5 and hardly any popularity, because what it holds out goes on with the same sitting.

    Attributes:
        closed: Dimensions of the tower in closed form, a linear autoencoder of histories (EASE) at this rank.
        regularisation: Of EASE.
        half_life: Positions in a history, for that tower; all items count alike when None.
        share: Weight of the learned tower; that of the one in closed form is 1.
        popular: Weight of popularity beside a history.
        content: Weight of the content taste.
        decay_days: An interaction so many days before the last one counts 1/e for popularity.
        early: One before which its user had so many counts half for popularity, which new users are answered with.
        disliked: What one counts for popularity that weighs less than the mean.
        ridge: Regularisation of the prediction from content, a kernel ridge regression.
        doubt: With so many interactions half of an item's vector is its own, half predicted.
        few: With so many items in a history half of a query is its own, half what somebody new is answered with.
        most_items: EASE inverts a matrix of this many of the most touched items; others are predicted.
        next_items: The learned tower; None goes without.
        attention: What is added to the queries of the towers, from what a history says as a whole; None goes without.
    """

    closed: int = 63
    regularisation: float = 200.0
    half_life: float | None = None
    share: float = 0.3
    popular: float = 1.6
    content: float = 0.0
    decay_days: float = 30.0
    early: float = 60.0
    disliked: float = 0.3
    ridge: float = 1.0
    doubt: float = 1.0
    few: float = 2.0
    most_items: int = 6_000
    next_items: NextItemsConfig | None = NextItemsConfig()
    attention: AttentionConfig | None = None

    @property
    def width(self) -> int:
        """R, the dimensions of both towers, the bias of the learned one, and popularity.

        >>> BehaviourConfig().width
        128
        """
        return self.closed + (self.next_items.dims + 1 if self.next_items else 0) + 1
