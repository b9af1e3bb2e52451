"""How far something is, for people: a bar at a terminal, and otherwise a line every half minute on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
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

EVERY = 30.0  # seconds between two lines
WIDE, WIDEST = 100, 140  # columns from which there is room for more than how much is done and when the rest will be


@dataclass
class Work:
    """One thing that goes on.

    Attributes:
        label: What is done.
        total: How much there is to do; None where nobody knows.
        unit: Of what, as in "items".
        done: How much is done.
        more: What else there is to say, the first thing to be left out.
        began: When, in seconds of a clock that never goes back.
    """

    label: str
    total: int | None = None
    unit: str = ""
    done: int = 0
    more: str = ""
    began: float = field(default_factory=monotonic)

    def line(self) -> str:
        """Say how far it is."""
        spent = monotonic() - self.began
        told = [f"{self.done:,} of {self.total:,} {self.unit}".rstrip()] if self.total else []
        if self.total is None and self.done:
            told = [f"{self.done:,} {self.unit}".rstrip()]
        told.append(f"{duration(spent)} so far")
        if self.total and 0 < self.done < self.total:
            told.append(f"about {duration(spent / self.done * (self.total - self.done))} left")
        return visible(f"{self.label}: {', '.join([*told, *([self.more] if self.more else [])])}")


class Shown:
    """Shows one thing after another; made by `progress`."""

    def __init__(self, bar: Progress | None) -> None:
        self._bar, self._task = bar, TaskID(-1)
        self._lock = Lock()
        self.work: Work | None = None

    def begin(self, label: str, total: int | None = None, unit: str = "") -> None:
        """Go on to something new; what was shown before is through."""
        with self._lock:
            if self._bar is not None:
                self._end()
                self._task = self._bar.add_task(visible(label), total=total, unit=unit, rate="", more="")
            self.work = Work(label, total, unit)

    def advance(self, done: int = 0, *, to: int | None = None, total: int | None = None, more: str = "") -> None:
        """Say that more is done: so much more, or so much in all.

        Args:
            done: How much more.
            to: How much in all, instead.
            total: How much there is to do, where that has changed.
            more: What else there is to say; what was said before stays where this is empty.
        """
        if (work := self.work) is None:
            return
        with self._lock:
            work.done = work.done + done if to is None else to
            work.total, work.more = total or work.total, more or work.more
            if self._bar is None:
                return
            speed = work.done / max(monotonic() - work.began, 1e-9)
            rate = f"{speed:.{0 if speed >= 10 else 1}f} {work.unit}/s" if work.unit and work.done else ""
            self._bar.update(
                self._task, completed=work.done, total=work.total, rate=visible(rate), more=visible(work.more)
            )

    def _end(self) -> None:
        if self._bar is not None and self.work is not None:
            done = self.work.done or 1  # it may have been stopped early: what was done is all there was
            self._bar.update(self._task, completed=done, total=done)


@contextmanager
def progress(label: str = "", total: int | None = None, unit: str = "", *, shown: bool = True) -> Iterator[Shown]:
    """Show how far something is on standard error.

    Args:
        label: What is done; empty where `Shown.begin` will say so.
        total: How much there is to do; None where nobody knows.
        unit: Of what, as in "items".
        shown: Whether to show anything at all.

    Yields:
        What is told how far it is.
    """
    if not shown:
        yield Shown(None)
    elif sys.stderr.isatty():
        console = Console(stderr=True)
        with Progress(*columns(console.width), console=console, redirect_stdout=False) as bar:
            yield _begun(Shown(bar), label, total, unit)
    else:
        with _lines(_begun(Shown(None), label, total, unit)) as told:
            yield told


def columns(width: int) -> tuple[ProgressColumn, ...]:
    """Give the columns of a bar that fit: how much is done and the time left always, the rest where there is room."""
    label = TextColumn("{task.description}", markup=False)
    always = (MofNCompleteColumn(), TimeRemainingColumn())
    if width < WIDE:
        return SpinnerColumn(), label, BarColumn(bar_width=max(5, min(20, width - 65))), *always
    more = (TextColumn("{task.fields[rate]}", markup=False), TimeElapsedColumn())
    if width < WIDEST:
        return SpinnerColumn(), label, BarColumn(bar_width=20), *always, *more
    return SpinnerColumn(), label, BarColumn(), *always, *more, TextColumn("{task.fields[more]}", markup=False)


def duration(seconds: float) -> str:
    """Say a time in the units that matter.

    >>> duration(7), duration(312), duration(7_300)
    ('7 s', '5 min 12 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _begun(shown: Shown, label: str, total: int | None, unit: str) -> Shown:
    if label:
        shown.begin(label, total, unit)
    return shown


@contextmanager
def _lines(shown: Shown) -> Iterator[Shown]:
    """Write a line now and then, also while one step takes long."""
    stopped = Event()

    def write() -> None:
        while not stopped.wait(EVERY):
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
