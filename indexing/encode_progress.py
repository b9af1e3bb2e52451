"""From a catalogue into a store, by a model or from its own vectors, with what a person sees meanwhile."""

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

from indexing.catalogue import Catalogue
from indexing.encode import EncodeConfig, EncodeReport, Progressed, encode_catalogue
from indexing.encoders.base import Encoder
from indexing.precomputed import store_vectors
from indexing.store import EmbeddingStore


def embed(
    catalogue: Catalogue, encoder: Encoder, store: EmbeddingStore, config: EncodeConfig | None, *, shown: bool
) -> EncodeReport:
    """Put the embeddings of a catalogue into a store, skipping what is there; see `encode_catalogue`."""
    with encode_progress(len(catalogue), shown) as advance:
        if encoder.info.precomputed:
            return store_vectors(catalogue, store, encoder, progress=advance)
        return encode_catalogue(catalogue, encoder, store, config=config, progress=advance)


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
