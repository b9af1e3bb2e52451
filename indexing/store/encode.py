"""From items to stored embeddings: read, decode, encode, append. Resumable at any point.

Files are decoded by other processes, a few batches ahead of the model. Every batch ends in the store before the next
one is encoded. What is there already, by item and content hash, is not encoded again; content that another item
brought before is copied; content that cannot be encoded is quarantined with a reason, and its neighbours do not notice.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np

from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.vectors import VectorBatch, half_units
from indexing.encoders.alignment.separate_encoder import SpacesEncoder
from indexing.encoders.alignment.separate_spaces import Spaces
from indexing.encoders.base import Encoder, PixelEncoder
from indexing.errors import InputError
from indexing.filesystem.checked_files import content_hash
from indexing.media.audio import AudioLimits
from indexing.media.decode import Task
from indexing.media.files import Modality
from indexing.media.images import ImageLimits
from indexing.media.pool import MEMORY, SECONDS, DecodePool
from indexing.media.remote_files import RemoteFolder
from indexing.media.video import VideoLimits
from indexing.runtime.arguments import check_flag, check_kind, check_number, check_whole
from indexing.runtime.progress import progress
from indexing.runtime.ray_engine import RayEngine
from indexing.runtime.threads import cores
from indexing.store.batch_encoder import BatchEncoder, LocalBatchEncoder
from indexing.store.encode_batch import EncodingRun
from indexing.store.fetched_files import fetched
from indexing.store.ray_actor import DecodeLimits
from indexing.store.ray_batch_encoder import ray_actors
from indexing.store.shared_pool import task_for
from indexing.store.store import Embedding, EmbeddingStore

STAGES = ("read", "decode", "encode", "write")
OnProgress: TypeAlias = Callable[[int, Mapping[str, float]], None]
BATCHES_AHEAD = 2
MAX_WORKERS = 16
HEAVY_BATCH_SIZE = 32  # items a batch where each may wait as ten megabytes


@dataclass(frozen=True)
class EncodeConfig:
    """How a catalogue is encoded.

    Attributes:
        batch_size: Items encoded and stored at once; a kill costs at most so many.
        workers: Processes that decode files; as many as there are cores when None, and 0 for none: then a file that
            crashes its decoder ends the run.
        limits: What a single picture may cost.
        sounds: What a single sound may cost.
        films: What a single film may cost.
        frames: How many pictures are taken from a film.
        seconds: Longest time of the processor that decoding one file may take; see `DecodePool`.
        memory: Most bytes of memory that decoding one file may take.
        engine: Encodes with actors of Ray; None encodes in this process.
    """

    batch_size: int = 256
    workers: int | None = None
    limits: ImageLimits = field(default_factory=ImageLimits)
    sounds: AudioLimits = field(default_factory=AudioLimits)
    films: VideoLimits = field(default_factory=VideoLimits)
    frames: int = 8
    seconds: float = SECONDS
    memory: int = MEMORY
    engine: RayEngine | None = None

    def __post_init__(self) -> None:
        minima = {"batch_size": 1, "frames": 1, "workers": 0}
        for name, limit in minima.items():
            if (value := getattr(self, name)) is not None or name != "workers":
                check_whole(value, name, limit)
        for name in ("seconds", "memory"):
            check_number(getattr(self, name), name, "give a number of more than 0", above=0)
        for name, kind in (("limits", ImageLimits), ("sounds", AudioLimits), ("films", VideoLimits)):
            check_kind(getattr(self, name), kind, name, f"give {kind.__name__}(…)")
        if self.engine is not None:
            check_kind(self.engine, RayEngine, "engine", "give RayEngine(…), or None")


@dataclass
class EncodeReport:
    """What became of every text, picture, sound and film; the four counts add up to all of them.

    Attributes:
        encoded: Contents that went through the encoder in this run.
        copied: Same content as met before: the vector was copied.
        resumed: Settled by an earlier run, encoded or quarantined.
        quarantined: Could not be encoded in this run.
        seconds: Time spent in each stage; decoding is only what the model had to wait for.
    """

    encoded: int = 0
    copied: int = 0
    resumed: int = 0
    quarantined: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self) | {"seconds": {stage: round(spent, 3) for stage, spent in self.seconds.items()}}

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        started = perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += perf_counter() - started


def encode_catalogue(
    catalogue: Catalogue,
    encoder: Encoder,
    store: EmbeddingStore,
    *,
    config: EncodeConfig | None = None,
    progress: OnProgress | None = None,
) -> EncodeReport:
    """Encode the texts and files of a catalogue into a store, skipping what is there already.

    Args:
        catalogue: The items.
        encoder: Embeds them; a modality that it lacks is left out.
        store: Where embeddings are and go.
        config: Batches, workers and limits.
        progress: Called after each batch with its number of items and the seconds so far in each stage.

    Returns:
        Counts, and seconds in each stage.
    """
    config = config or EncodeConfig()
    report = EncodeReport()
    store.begin_run()
    with _batch_encoder(encoder, config, report) as batch_encoder:
        run = EncodingRun(encoder.info.modalities, store, report, batch_encoder)
        size = config.batch_size if _has_small_inputs(encoder, catalogue) else min(config.batch_size, HEAVY_BATCH_SIZE)
        batches, ahead = catalogue.batches(size), deque[Any]()
        if isinstance(catalogue.image_dir, RemoteFolder):
            batches = fetched(batches, encoder.info.modalities, batch_encoder.task)
        while True:
            with report.timed("read"):
                items = next(batches, None)
                if items is not None:
                    ahead.append(run.begin(items))
            if not ahead:
                return report
            if items is None or len(ahead) > batch_encoder.ahead:
                finished = run.finish(ahead.popleft())
                if progress is not None:
                    progress(finished, report.seconds)


@contextmanager
def _batch_encoder(encoder: Encoder, config: EncodeConfig, report: EncodeReport) -> Iterator[BatchEncoder]:
    """Start what encodes batches, here or on a cluster, and end it."""
    task = _task(encoder, config)
    if config.engine is not None:
        limits = DecodeLimits(config.workers, config.seconds, config.memory)
        with ray_actors(config.engine, encoder, task, limits, report.timed) as remote:
            yield remote
        return
    workers = _workers(config.memory) if config.workers is None else config.workers
    with DecodePool(task, workers, seconds=config.seconds, memory=config.memory) as pool:
        yield LocalBatchEncoder(encoder, pool, report.timed, BATCHES_AHEAD)


def check_encoding(config: object, progress: object) -> None:
    """Check how items are to be encoded.

    Raises:
        InputError: When the encoding cannot be determined.
    """
    if config is not None:
        check_kind(config, EncodeConfig, "encode", "give an EncodeConfig, or None")
    check_flag(progress, "progress")


def _workers(memory: int) -> int:
    """Return how many files are decoded at once: one a core, and together within a quarter of the memory."""
    max_workers = MAX_WORKERS
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        max_workers = min(max_workers, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4 // memory)
    return max(1, min(max_workers, cores()))


def _has_small_inputs(encoder: Encoder, catalogue: Catalogue) -> bool:
    """Whether what waits for the model is small: squares of pixels, not sounds of a minute or whole pictures."""
    has_audio = catalogue.columns.audio is not None and Modality.AUDIO in encoder.info.modalities
    small_images = not catalogue.columns.media or (isinstance(encoder, PixelEncoder) and encoder.image_form is not None)
    if catalogue.columns.media and isinstance(catalogue.image_dir, RemoteFolder):
        return False  # whole files wait
    return small_images and not has_audio and catalogue.columns.video is None


def _task(encoder: Encoder, config: EncodeConfig) -> Task:
    return replace(
        task_for(encoder), pictures=config.limits, sounds=config.sounds, films=config.films, frames=config.frames
    )


VECTOR_BATCH_SIZE = 4096


NO_DIRECTION = "vector without a direction: nothing of it is left in the dimensions that were learned for its modality"


def store_vectors(
    catalogue: Catalogue, store: EmbeddingStore, encoder: Encoder, *, progress: OnProgress | None = None
) -> EncodeReport:
    """Put the precomputed vectors of a catalogue into a store, at unit length, skipping what is there already.

    The content of a vector is its float32 bytes, as the catalogue has them. One that cannot be used is quarantined with
    the reason.

    Args:
        catalogue: The items.
        store: Where the vectors go.
        encoder: Which maps them, if their modalities are different spaces.
        progress: Called after each batch with its number of items and the seconds so far in each stage.

    Returns:
        Counts, and seconds in each stage.

    Raises:
        CatalogueError: When the catalogue's vectors are missing or of another length.
    """
    report = EncodeReport()
    store.begin_run()
    spaces = encoder.spaces if isinstance(encoder, SpacesEncoder) else None
    batches = catalogue.vectors(VECTOR_BATCH_SIZE, spaces.lengths if spaces else store.dim)
    while True:
        with report.timed("read"):
            batch = next(batches, None)
        if batch is None:
            return report
        with report.timed("encode"):
            new = [
                embedding
                for modality in batch.vectors
                for embedding in _new_embeddings(batch, modality, store, report, spaces)
            ]
        with report.timed("write"):
            store.append(new)
        if progress is not None:
            progress(len(batch.item_ids), report.seconds)


def _new_embeddings(
    batch: VectorBatch, modality: Modality, store: EmbeddingStore, report: EncodeReport, spaces: Spaces | None
) -> list[Embedding]:
    """Return what the store does not know yet of one modality."""
    vectors, problems, new = batch.vectors[modality], list(batch.problems[modality]), []
    rows = np.flatnonzero(batch.exists[modality])
    usable = vectors[rows]
    if spaces is not None:
        usable = spaces.apply(modality, usable)
        for row in rows[~usable.any(axis=1)].tolist():
            problems[row] = NO_DIRECTION
        rows, usable = rows[usable.any(axis=1)], usable[usable.any(axis=1)]
    halves = dict(zip(rows.tolist(), half_units(usable), strict=True))
    for row, item_id in enumerate(batch.item_ids):
        problem, half = problems[row], halves.get(row)
        if half is None and not problem:
            continue
        digest = "" if problem else content_hash(vectors[row].tobytes())
        if store.settled(item_id, modality, digest, problem):
            report.resumed += 1
            continue
        if problem:
            report.quarantined += 1
        else:
            report.encoded += 1
        new.append(Embedding(item_id, modality, digest, half, problem))
    return new


def embed(
    catalogue: Catalogue, encoder: Encoder, store: EmbeddingStore, config: EncodeConfig | None, *, shown: bool
) -> EncodeReport:
    """Put the embeddings of a catalogue into a store, skipping what is there; see `encode_catalogue`."""
    with encode_progress(len(catalogue), shown) as advance:
        if encoder.info.precomputed:
            if config is not None and config.engine is not None:
                raise InputError(
                    f"the encoder {encoder.info.name} takes vectors as they are, and has no use for Ray",
                    python="leave out engine",
                    cli="leave out --engine",
                )
            return store_vectors(catalogue, store, encoder, progress=advance)
        return encode_catalogue(catalogue, encoder, store, config=config, progress=advance)


@contextmanager
def encode_progress(total: int, shown: bool, label: str = "encoding") -> Iterator[OnProgress]:
    """Show items encoded, rate, time left and where the time went; see `indexing.runtime.progress.progress`."""
    with progress(label, total, "items", shown=shown) as display:

        def advance(items: int, seconds: Mapping[str, float]) -> None:
            display.advance(items, more=", ".join(f"{stage} {spent:.0f} s" for stage, spent in seconds.items()))

        yield advance
