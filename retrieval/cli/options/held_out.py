"""Options that say which interactions are held out: `fit` learns nothing from them, `evaluate` looks for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import typer

from retrieval.cli.display.terminal import UsageError
from retrieval.cli.options.log import LogColumns
from retrieval.evaluation.splits.splits import Split, at_time, by_user
from retrieval.interactions.event_types import LearnedEvents
from retrieval.interactions.interactions import Interactions

SplitBy = Literal["user", "time"]
HELD_OUT = "Held-out interactions"

HoldOut = Annotated[
    float,
    typer.Option(
        "--hold-out",
        min=0.0,
        max=0.9,
        rich_help_panel=HELD_OUT,
        help="Fraction of the interactions that should be found, the latest ones: 0.2 is a fifth. The bundle must not "
        "have learned from them: fit it with the same fraction.",
    ),
]
LearnHoldOut = Annotated[
    float,
    typer.Option(
        "--hold-out",
        min=0.0,
        max=0.9,
        rich_help_panel=HELD_OUT,
        help="Fraction of the interactions, the latest ones, that are held out of training, so that `evaluate` can use "
        "them. By default none is held out.",
    ),
]
"""A fit serves, and learns from all, unless it is to be evaluated: so its default differs from that of `evaluate`."""
SplitOption = Annotated[
    SplitBy | None,
    typer.Option(
        "--split",
        rich_help_panel=HELD_OUT,
        help="Hold out the latest interactions of each user, or with time all that are later than one moment.",
    ),
]
HistoryRows = Annotated[
    str | None,
    typer.Option("--history-rows", rich_help_panel=HELD_OUT, help="Rows that are histories, like 'split=train,valid'."),
]
RelevantRows = Annotated[
    str | None, typer.Option("--relevant-rows", rich_help_panel=HELD_OUT, help="Rows to be found, like 'split=test'.")
]


@dataclass(frozen=True, eq=False)
class SplitLog:
    """A log that is split into histories and relevant interactions.

    Attributes:
        history: Earlier interactions of the users.
        relevant: What should be found.
        description: How the log was split, in words.
        cutoff: The first second of `relevant` when all of it is later than all of `history`; then all users ask.
        fraction: The part of the whole that is relevant.
    """

    history: Interactions
    relevant: Interactions
    description: str
    cutoff: int | None
    fraction: float

    @property
    def by(self) -> SplitBy:
        """How it was split: for each user, or for all at one moment."""
        return "user" if self.cutoff is None else "time"


@dataclass(frozen=True)
class SplitOptions:
    """Which interactions of a log are histories, and which should be found."""

    history_rows: HistoryRows = None
    relevant_rows: RelevantRows = None
    hold_out: HoldOut = 0.2
    split: SplitOption = None

    def check(self) -> None:
        """Check that the options go together.

        Raises:
            UsageError: When they do not.
        """
        if (self.history_rows is None) != (self.relevant_rows is None):
            raise UsageError("give both --history-rows and --relevant-rows, or neither")
        if self.history_rows is not None and self.split is not None:
            raise UsageError("--split goes with --hold-out; --history-rows and --relevant-rows split the log already")

    def read(
        self, source: str, log: LogColumns, learned: LearnedEvents | None = None, context: Sequence[str] = ()
    ) -> SplitLog:
        """Split a log by a column of it, or by what came last.

        Raises:
            InputError: When it cannot be read or split.
        """
        weight = "" if log.min_weight is None else f", of weight {log.min_weight:g} and more"
        if self.history_rows is not None and self.relevant_rows is not None:
            history = log.read(source, rows=self.history_rows, apply_min_weight=False, learned=learned)
            relevant = log.read(source, rows=self.relevant_rows, learned=learned, context=context)
            where = f"history where {self.history_rows}; to be found where {self.relevant_rows}{weight}"
            return _split_log(history, relevant, where)
        split = held_out(log.read(source, learned=learned, context=context), self.hold_out, self.split)
        return _split_log(split.past, split.future, f"to be found: {self._held_out(split)}{weight}")

    def _held_out(self, split: Split) -> str:
        if split.cut is not None:
            return f"the last {self.hold_out:.0%} of all interactions, from {_day(split.cut)} on"
        if not split.past.has_times and not split.future.has_times:
            return f"{self.hold_out:.0%} of each user's interactions, drawn at random, for the log has no times"
        return f"the last {self.hold_out:.0%} of each user's interactions"


def held_out(log: Interactions, fraction: float, by: SplitBy | None) -> Split:
    """Hold out the latest interactions of each user, or of the log.

    Raises:
        InputError: When the fraction is not between 0 and 1, or nothing is left on one side.
    """
    if by != "time":
        return by_user(log, fraction)
    times = log.table["timestamp"].to_numpy()
    if not len(times) or np.ptp(times) == 0:
        raise UsageError(
            "--split time needs times, and all of this log is of one second: name their column by --time-column"
        )
    return at_time(log, share=fraction)


def _split_log(history: Interactions, relevant: Interactions, description: str) -> SplitLog:
    before, after = (part.table["timestamp"].to_numpy() for part in (history, relevant))
    in_time = len(before) > 0 and len(after) > 0 and int(before[-1]) < int(after[0])
    fraction = float(np.clip(len(after) / max(len(before) + len(after), 1), 0.05, 0.5))
    return SplitLog(history, relevant, description, int(after[0]) if in_time else None, fraction)


def _day(second: int) -> str:
    return str(np.datetime64(second, "s")).replace("T", " ") + " UTC"
