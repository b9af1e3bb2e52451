"""How the parts learn, one small dataclass each; kept apart so that reading them does not import torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AdapterConfig:
    """How the adapter learns.

    Attributes:
        hidden: Width H of the residual.
        epochs: Passes over the users.
        targets: Targets drawn from a user in each pass.
        batch_size: Targets, and so negatives, a batch.
        learning_rate: Of Adam.
        temperature: Divides the cosines before the softmax.
        stay: Weight of staying near the frozen vectors, which keeps text and image search.
        seed: Of initialisation and sampling.
    """

    hidden: int = 64
    epochs: int = 20
    targets: int = 4
    batch_size: int = 512
    learning_rate: float = 1e-3
    temperature: float = 0.07
    stay: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class HeadConfig:
    """How the reranking head learns.

    Attributes:
        hidden: Width H of the network.
        epochs: Most passes over the queries.
        patience: Passes without a better loss on held-out queries before it stops.
        batch_size: Queries a batch.
        learning_rate: Of Adam.
        seed: Of initialisation, order and the held-out tenth.
    """

    hidden: int = 32
    epochs: int = 60
    patience: int = 8
    batch_size: int = 64
    learning_rate: float = 3e-3
    seed: int = 0
