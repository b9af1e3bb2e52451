"""What a person sees while a catalogue is encoded."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from indexing.encode import Progressed


@contextmanager
def encode_progress(total: int, shown: bool) -> Iterator[Progressed]:
    """Show items encoded, rate, time left and where the time went on standard error, when it is a terminal."""
    columns = (
        SpinnerColumn(),
        TextColumn("encoding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} items/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[stages]}"),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("", total=total, rate="…", stages="")

        def advance(items: int, seconds: Mapping[str, float]) -> None:
            bar.update(task, advance=items)
            speed = bar.tasks[0].speed
            stages = ", ".join(f"{stage} {spent:.0f} s" for stage, spent in seconds.items())
            bar.update(task, rate=f"{speed:.0f}" if speed else "…", stages=stages)

        yield advance
