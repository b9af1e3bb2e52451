"""Options of encoding items and of the index that is built from their vectors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from indexing.index import IndexConfig
from indexing.index.tuning.build import IndexKind
from indexing.index.tuning.sample_queries import Given, read_queries
from indexing.media.audio import AudioLimits
from indexing.media.files import Modality
from indexing.media.images import ImageLimits
from indexing.media.pool import MEMORY, SECONDS
from indexing.media.video import VideoLimits
from indexing.runtime.ray_engine import RayEngine
from indexing.store.encode import EncodeConfig
from retrieval.cli.display.terminal import UsageError
from retrieval.cli.options.engine import RAY, EngineOptions

ENCODING, INDEX = "Encoding", "Index"
DEFAULT_ENCODER = "pocket"
NAMES = "pocket, open_clip:ARCH/TAG, hf:NAME, st:NAME, clap:NAME, MAIN+clap:NAME, vectors: or vectors:separate."
Precision = Literal["auto", "float32", "bfloat16", "float16"]

EncoderName = Annotated[str, typer.Option("--encoder", rich_help_panel=ENCODING, help=f"Encoder: {NAMES}")]
EncoderNames = Annotated[
    list[str] | None, typer.Option("--encoder", rich_help_panel=ENCODING, help=f"Encoder, repeat for several: {NAMES}")
]
PrecisionOption = Annotated[
    Precision, typer.Option("--precision", rich_help_panel=ENCODING, help="Number format of the encoder.")
]
Device = Annotated[
    str,
    typer.Option("--device", rich_help_panel=ENCODING, help="Where to encode: auto, cpu, cuda or cuda:1."),
]
Compile = Annotated[
    bool,
    typer.Option("--compile", rich_help_panel=ENCODING, help="Compile the model by torch.compile before encoding."),
]
BatchSize = Annotated[
    int, typer.Option("--batch-size", rich_help_panel=ENCODING, help="Items encoded and stored at once.")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", rich_help_panel=ENCODING, help="Processes that decode files; by default one per core."),
]
MaxPixels = Annotated[
    int | None,
    typer.Option("--max-pixels", rich_help_panel=ENCODING, help="Largest image or video frame, in pixels."),
]
MaxBytes = Annotated[int | None, typer.Option("--max-bytes", rich_help_panel=ENCODING, help="Largest file, in bytes.")]
MaxDecodeMemory = Annotated[
    int,
    typer.Option("--max-decode-memory", rich_help_panel=ENCODING, help="Memory to decode one file with, in bytes."),
]
MaxDecodeSeconds = Annotated[
    float,
    typer.Option("--max-decode-seconds", rich_help_panel=ENCODING, help="Processor time to decode one file with."),
]
NumFrames = Annotated[
    int, typer.Option("--num-frames", rich_help_panel=ENCODING, help="Frames that are encoded of each video.")
]
ActorGpus = Annotated[float, typer.Option("--actor-gpus", rich_help_panel=RAY, help="GPUs of each actor of Ray.")]
Index = Annotated[IndexKind, typer.Option("--index", rich_help_panel=INDEX, help="Type of the index.")]
MinRecall = Annotated[
    float,
    typer.Option("--min-recall", rich_help_panel=INDEX, help="Recall@10 that the index must reach, from 0 to 1."),
]
MaxIndexMemory = Annotated[
    str | None,
    typer.Option(
        "--max-index-memory",
        rich_help_panel=INDEX,
        help="Memory limit of the index, like 512M or 2G; of its build, too, when it is sharded.",
    ),
]
MaxLatency = Annotated[
    float | None,
    typer.Option("--max-latency-ms", rich_help_panel=INDEX, help="Time limit of one query, in milliseconds."),
]
OnDisk = Annotated[
    bool,
    typer.Option(
        "--index-on-disk", rich_help_panel=INDEX, help="Keep the codes of shards on disk: slower, less memory."
    ),
]
IndexDevice = Annotated[
    str,
    typer.Option(
        "--index-device", rich_help_panel=INDEX, help="Where to train and fill inverted lists: cpu, cuda or cuda:1."
    ),
]


@dataclass(frozen=True)
class EncodingOptions(EngineOptions):
    """How items are encoded, and what decoding one file may cost."""

    encoder: EncoderName = DEFAULT_ENCODER
    precision: PrecisionOption = "auto"
    device: Device = "auto"
    compile: Compile = False
    batch_size: BatchSize = 256
    workers: Workers = None
    max_pixels: MaxPixels = None
    max_bytes: MaxBytes = None
    max_decode_memory: MaxDecodeMemory = MEMORY
    max_decode_seconds: MaxDecodeSeconds = SECONDS
    num_frames: NumFrames = EncodeConfig.frames
    actor_gpus: ActorGpus = RayEngine.gpus

    @property
    def config(self) -> EncodeConfig:
        """The same as `indexing.store.encode` takes it."""
        return EncodeConfig(
            self.batch_size,
            self.workers,
            ImageLimits(self.max_pixels or ImageLimits.pixels, self.max_bytes or ImageLimits.file_bytes),
            AudioLimits(file_bytes=self.max_bytes or AudioLimits.file_bytes),
            VideoLimits(
                pixels=self.max_pixels or VideoLimits.pixels, file_bytes=self.max_bytes or VideoLimits.file_bytes
            ),
            self.num_frames,
            self.max_decode_seconds,
            self.max_decode_memory,
            self._encoding_engine,
        )

    @property
    def _encoding_engine(self) -> RayEngine | None:
        engine = self.ray_engine(self.actor_gpus)
        if engine is not None and (self.compile or (self.device.startswith("cuda") and not self.actor_gpus)):
            raise UsageError(
                "--device and --compile are of this process; with --engine ray give --actor-gpus for actors with a "
                "GPU, which do not compile"
            )
        return engine


SampleQueriesFile = Annotated[
    Path | None,
    typer.Option(
        "--sample-queries",
        rich_help_panel=INDEX,
        help="What users searched for, 100 texts or more: a .txt file, one a line, or a .npy file of their vectors. "
        "The index is tuned on them. By default on texts of items that have pictures too, or on the texts of the "
        "bundle before.",
    ),
]


@dataclass(frozen=True)
class IndexOptions:
    """What the index has to reach, and within which limits."""

    index: Index = "auto"
    min_recall: MinRecall = 0.95
    max_index_memory: MaxIndexMemory = None
    max_latency_ms: MaxLatency = None
    index_on_disk: OnDisk = False
    index_device: IndexDevice = "cpu"
    sample_queries: SampleQueriesFile = None

    @property
    def queries(self) -> Given | None:
        """Texts that users searched for, or vectors of them, as `build_bundle` takes them."""
        return None if self.sample_queries is None else {str(Modality.TEXT): read_queries(self.sample_queries)}

    @property
    def config(self) -> IndexConfig:
        """The same as `indexing.index` takes it."""
        return IndexConfig(
            self.min_recall,
            kind=self.index,
            max_memory=self.max_index_memory,
            max_latency_ms=self.max_latency_ms,
            on_disk=self.index_on_disk,
        )
