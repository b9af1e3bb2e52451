"""What a training did, epoch by epoch; apart from the loop, so that reading it does not import torch."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class TrainingCurve:
    """The losses of one training.

    Attributes:
        train: Mean loss of the batches of each epoch, while it learned from them.
        valid: Loss on what was held out: before the first epoch, and after each; empty when nothing was.
        best: The epoch whose state was kept; 0 is the start.
        stopped: Why it ended before the last epoch, or "".
    """

    train: tuple[float, ...]
    valid: tuple[float, ...]
    best: int
    stopped: str = ""

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return asdict(self)
