"""Users held out of training, who stand for new users.

Users who were trained on cannot stand for new ones, because the model knows their later interactions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.fitting.selection.validation import MIN_USERS
from retrieval.interactions.histories import History

SHORT_LENGTHS, MAX_RELEVANT = (1, 2, 3), 20  # items of a short history, and of the interactions after it
MIN_HELD_OUT, MAX_HELD_OUT = 20, 2_000  # users
MAX_TRAINING_USERS = 20_000


@dataclass(frozen=True)
class ShortHistories:
    """Users with a short history: held-out users after their first interactions.

    Attributes:
        histories: The first few items of each.
        relevant: The next ones.
    """

    histories: list[History]
    relevant: list[History]

    @classmethod
    def of(
        cls, histories: Sequence[History], min_relevance: float, lengths: Sequence[int] = SHORT_LENGTHS
    ) -> "ShortHistories | None":
        """Cut histories short, for users who liked one of the next items; None when they are too few to validate on.

        Args:
            histories: All interactions of each, oldest first.
            min_relevance: An interaction of a smaller weight is a dislike.
            lengths: Lengths of the short histories, assigned to users in turn.
        """
        pairs = []
        for number, history in enumerate(histories):
            length = lengths[number % len(lengths)]
            relevant = history[length : length + MAX_RELEVANT]
            if len(relevant.liked(min_relevance)):
                pairs.append((history[:length], relevant))
        if len(pairs) < MIN_USERS:
            return None
        return cls([short for short, _ in pairs], [relevant for _, relevant in pairs])


def hold_out_users(histories: Sequence[History]) -> tuple[list[History], list[History]]:
    """Split users into training users, 20,000 at most, and a tenth that is held out, 20 to 2,000.

    Nobody is held out where that would be more than a quarter.
    """
    num_held_out = min(MAX_HELD_OUT, max(MIN_HELD_OUT, len(histories) // 10))
    if 4 * num_held_out > len(histories):
        return list(histories), []
    order = np.random.default_rng(0).permutation(len(histories))
    held_out = np.sort(order[:num_held_out]).tolist()
    training = np.sort(order[num_held_out : num_held_out + MAX_TRAINING_USERS]).tolist()
    return [histories[number] for number in training], [histories[number] for number in held_out]
