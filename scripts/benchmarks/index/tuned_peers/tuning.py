"""The rule by which every peer is tuned: the smallest effort of a grid that reaches the goal on held-out queries.

A grid has one or several ladders of growing efforts. With one, its first effort that reaches the goal is taken. With
several (so many lists, and for each number of refined candidates a ladder of its own) the first of each are
compared, and the fastest on the held-out queries is taken.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Effort = Mapping[str, Any]
Ladder = Sequence[Effort]


@dataclass(frozen=True)
class Measured:
    """Recall of an effort, and the seconds that all held-out queries took."""

    effort: Effort
    recall: float
    seconds: float


@dataclass(frozen=True)
class Tuned:
    """The effort that was chosen, whether it reaches the goal, and how many efforts were measured."""

    chosen: Measured
    reaches: bool
    tried: int


def smallest_effort(ladders: Sequence[Ladder], measure: Callable[[Effort], Measured], goal: float) -> Tuned:
    """Find the smallest effort that reaches a recall; without one, give that of the best recall.

    A ladder is left where it reaches the goal, and where an effort is slower than what another ladder reached it with:
    those above are slower still.

    Raises:
        ValueError: When there is no effort at all.
    """
    reaching: list[Measured] = []
    others: list[Measured] = []
    for ladder in ladders:
        for effort in ladder:
            found = measure(effort)
            if found.recall >= goal:
                reaching.append(found)
                break
            others.append(found)
            if any(found.seconds > other.seconds for other in reaching):
                break
    if not reaching and not others:
        raise ValueError("there is no effort to try: give at least one ladder with an effort")
    chosen = min(reaching, key=lambda one: one.seconds) if reaching else max(others, key=lambda one: one.recall)
    return Tuned(chosen, bool(reaching), len(reaching) + len(others))
