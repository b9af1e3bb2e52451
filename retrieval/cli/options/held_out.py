"""What of a log is kept away from learning, by `fit --hold-out`, and is to be found, in `evaluate`: the same cut."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import typer

from retrieval.cli.display.terminal import UsageError
from retrieval.cli.options.log import LogOptions
from retrieval.evaluation.splits.splits import Split, at_time, by_user
from retrieval.interactions.interactions import Interactions

Way = Literal["user", "time"]
HeldOutWay = Annotated[
    Way | None,
    typer.Option(
        "--split",
        help="Hold out the last of each user's interactions, or what all did after one moment; user by itself.",
    ),
]


@dataclass(frozen=True, eq=False)
class Parts:
    """What is known, and what is to be found.

    Attributes:
        past: The one.
        future: The other.
        told: In words, how they were cut.
        moment: The first second of the future, where all of it is later than all of the past; then all users ask.
        share: How much of the whole is to be found.
    """

    past: Interactions
    future: Interactions
    told: str
    moment: int | None
    share: float

    @property
    def way(self) -> Way:
        """How they were cut: each user alone, or all at one moment."""
        return "user" if self.moment is None else "time"


def held_out(log: Interactions, share: float, way: Way | None) -> Split:
    """Cut a share from the end of each user's interactions, or from the end of the log.

    Raises:
        InputError: When the share is not between 0 and 1, or nothing is left on one side.
    """
    if way != "time":
        return by_user(log, share)
    times = log.table["timestamp"].to_numpy()
    if not len(times) or np.ptp(times) == 0:
        raise UsageError(
            "--split time needs times, and all of this log is of one second: name their column by --time-column"
        )
    return at_time(log, share=share)


def parts_of(
    source: str, history: str | None, relevant: str | None, hold_out: float, way: Way | None, options: LogOptions
) -> Parts:
    """Cut a log as options say: by a column of it, or by what came last.

    Raises:
        InputError: When it cannot be read or cut.
    """
    weight = "" if options.min_weight is None else f", of weight {options.min_weight:g} and more"
    if history is not None and relevant is not None:
        past = replace(options, only=history, min_weight=None).open(source)
        future = replace(options, only=relevant).open(source)
        return _parts(past, future, f"history where {history}; to be found where {relevant}{weight}")
    split = held_out(options.open(source), hold_out, way)
    if split.cut is None:
        told = f"the last {hold_out:.0%} of each user's interactions"
        if not split.past.has_times and not split.future.has_times:
            told = f"{hold_out:.0%} of each user's interactions, drawn at random, for the log has no times"
    else:
        told = f"the last {hold_out:.0%} of all interactions, from {_day(split.cut)} on"
    return _parts(split.past, split.future, f"to be found: {told}{weight}")


def _parts(past: Interactions, future: Interactions, told: str) -> Parts:
    before, after = (part.table["timestamp"].to_numpy() for part in (past, future))
    in_time = len(before) > 0 and len(after) > 0 and int(before[-1]) < int(after[0])
    share = float(np.clip(len(after) / max(len(before) + len(after), 1), 0.05, 0.5))
    return Parts(past, future, told, int(after[0]) if in_time else None, share)


def _day(second: int) -> str:
    return str(np.datetime64(second, "s")).replace("T", " ") + " UTC"
