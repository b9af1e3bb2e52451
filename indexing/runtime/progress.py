"""Progress of long work: a bar at a terminal, and otherwise a line every half minute on standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from time import monotonic

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from indexing.runtime.safe_text import visible

SECONDS_BETWEEN_LINES = 30.0
# Terminal widths from which a bar shows more than the count and the time left.
WIDE_COLUMNS, WIDEST_COLUMNS = 100, 140


@dataclass
class ProgressStep:
    """One step of work.

    Attributes:
        label: Name of the step.
        total: Number of units to do; None if unknown.
        unit: Name of the unit, as "items".
        done: Number of units done.
        more: Further text, shown where there is room.
        started: Time of the start, in seconds of a monotonic clock.
    """

    label: str
    total: int | None = None
    unit: str = ""
    done: int = 0
    more: str = ""
    started: float = field(default_factory=monotonic)

    def line(self) -> str:
        """Describe the progress in one line."""
        elapsed = monotonic() - self.started
        parts = [f"{self.done:,} of {self.total:,} {self.unit}".rstrip()] if self.total else []
        if self.total is None and self.done:
            parts = [f"{self.done:,} {self.unit}".rstrip()]
        parts.append(f"{duration(elapsed)} so far")
        if self.total and 0 < self.done < self.total:
            parts.append(f"about {duration(elapsed / self.done * (self.total - self.done))} left")
        return visible(f"{self.label}: {', '.join([*parts, *([self.more] if self.more else [])])}")


class ProgressDisplay:
    """Shows the progress of one step after another; made by `progress`."""

    def __init__(self, bar: Progress | None, listener: "Listener | None" = None) -> None:
        self._bar, self._task, self._listener = bar, TaskID(-1), listener
        self._lock = Lock()
        self.work: ProgressStep | None = None

    def begin(self, label: str, total: int | None = None, unit: str = "") -> None:
        """Start a new step; the one before it is done."""
        with self._lock:
            if self._bar is not None:
                self._end()
                self._task = self._bar.add_task(visible(label), total=total, unit=unit, rate="", more="")
            self.work = ProgressStep(label, total, unit)
        self._report()

    def advance(self, done: int = 0, *, to: int | None = None, total: int | None = None, more: str = "") -> None:
        """Count units as done.

        Args:
            done: Units done since the last call.
            to: Units done in all, instead.
            total: A new number of units to do.
            more: Further text; the earlier one stays if this is empty.
        """
        if (work := self.work) is None:
            return
        with self._lock:
            work.done = work.done + done if to is None else to
            work.total, work.more = total or work.total, more or work.more
        self._report()
        with self._lock:
            if self._bar is None:
                return
            speed = work.done / max(monotonic() - work.started, 1e-9)
            rate = f"{speed:.{0 if speed >= 10 else 1}f} {work.unit}/s" if work.unit and work.done else ""
            self._bar.update(
                self._task, completed=work.done, total=work.total, rate=visible(rate), more=visible(work.more)
            )

    def _report(self) -> None:
        if self._listener is not None and self.work is not None:
            self._listener(self.work)

    def _end(self) -> None:
        if self._bar is not None and self.work is not None:
            done = self.work.done or 1  # a step that was stopped early ends at what it has done
            self._bar.update(self._task, completed=done, total=done)


Listener = Callable[[ProgressStep], None]
_listener: ContextVar[Listener | None] = ContextVar("commonspace_progress", default=None)


@contextmanager
def progress_to(listener: Listener) -> Iterator[None]:
    """Give progress within the block to a function, rather than show it."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def progress(
    label: str = "", total: int | None = None, unit: str = "", *, shown: bool = True
) -> Iterator[ProgressDisplay]:
    """Show progress on standard error.

    Args:
        label: Name of the first step; empty if `ProgressDisplay.begin` is called later.
        total: Number of units to do; None if unknown.
        unit: Name of the unit, as "items".
        shown: Whether to show anything at all.

    Yields:
        The object to report progress to.
    """
    if (listener := _listener.get()) is not None:
        yield _start(ProgressDisplay(None, listener), label, total, unit)
    elif not shown:
        yield ProgressDisplay(None)
    elif sys.stderr.isatty():
        console = Console(stderr=True)
        with Progress(*columns(console.width), console=console, redirect_stdout=False) as bar:
            yield _start(ProgressDisplay(bar), label, total, unit)
    else:
        with _lines(_start(ProgressDisplay(None), label, total, unit)) as shown_:
            yield shown_


def columns(width: int) -> tuple[ProgressColumn, ...]:
    """Return the columns of a bar for a terminal width: the count and the time left, and more where there is room."""
    label = TextColumn("{task.description}", markup=False)
    always = (MofNCompleteColumn(), TimeRemainingColumn())
    if width < WIDE_COLUMNS:
        return SpinnerColumn(), label, BarColumn(bar_width=max(5, min(20, width - 65))), *always
    more = (TextColumn("{task.fields[rate]}", markup=False), TimeElapsedColumn())
    if width < WIDEST_COLUMNS:
        return SpinnerColumn(), label, BarColumn(bar_width=20), *always, *more
    return SpinnerColumn(), label, BarColumn(), *always, *more, TextColumn("{task.fields[more]}", markup=False)


def duration(seconds: float) -> str:
    """Write a duration with its two largest units.

    >>> duration(7), duration(312), duration(7_300)
    ('7 s', '5 min 12 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _start(shown: ProgressDisplay, label: str, total: int | None, unit: str) -> ProgressDisplay:
    if label:
        shown.begin(label, total, unit)
    return shown


@contextmanager
def _lines(shown: ProgressDisplay) -> Iterator[ProgressDisplay]:
    """Write a line at fixed intervals, from a thread, so that a long step is covered too."""
    stopped = Event()

    def write() -> None:
        while not stopped.wait(SECONDS_BETWEEN_LINES):
            if shown.work is not None:
                sys.stderr.write(f"{shown.work.line()}\n")
                sys.stderr.flush()

    thread = Thread(target=write, name="progress", daemon=True)
    thread.start()
    try:
        yield shown
    finally:
        stopped.set()
        thread.join()
