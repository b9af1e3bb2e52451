"""Peak memory of encoding 10,000 and 50,000 items, each with a text and a JPEG of its own, in fresh processes.

    python -m scripts.benchmarks.encode.encode_memory

The encoder costs next to nothing, so that what grows is the pipeline's own: reading, decoding, the store.
"""

import argparse
import io
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from indexing.arrays import Vectors, unit
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders.base import EncoderInfo
from indexing.media.files import Modality
from indexing.media.image_form import ImageForm, Pixels
from indexing.store.encode import encode_catalogue
from indexing.store.store import EmbeddingStore
from scripts.benchmarks.record import keep

SIZES, DIM, SIDE = (10_000, 50_000), 512, 64
ROWS = 1000


class Light:
    """512 numbers from the bytes of a text or the pixels of a picture."""

    image_form = ImageForm(SIDE, "shortest")
    info = EncoderInfo("light", DIM, (Modality.TEXT, Modality.IMAGE), "light")

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed N texts: (N, 512) float32, unit length."""
        return unit(np.stack([np.frombuffer(text.encode().ljust(DIM, b" ")[:DIM], np.uint8) for text in texts]))

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Embed N pictures: (N, 512) float32, unit length."""
        return self.encode_pixels(np.stack([self.image_form.apply(image) for image in images]))

    def encode_pixels(self, pixels: Pixels) -> Vectors:
        """Embed N prepared pictures: (N, 512) float32, unit length."""
        return unit(pixels.reshape(len(pixels), -1)[:, :: SIDE * SIDE * 3 // DIM] + 1.0)


def main() -> None:
    """Measure each size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", type=int, help="encode so many items and print the peak in megabytes")
    given = parser.parse_args()
    if given.one:
        print(peak_megabytes(given.one))
        return
    peaks = {}
    for size in SIZES:
        command = [sys.executable, "-m", "scripts.benchmarks.encode.encode_memory", "--one", str(size)]
        peaks[size] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    keep("encode_memory", {"peak megabytes": peaks, "ratio": round(peaks[SIZES[1]] / peaks[SIZES[0]], 3)}, seed=0)


def peak_megabytes(size: int) -> float:
    """Encode that many items; the peak of this process, without its workers."""
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "items.parquet"
        with pq.ParquetWriter(source, SCHEMA) as writer:
            for batch in batches(size):
                writer.write_batch(batch, row_group_size=ROWS)
        report = encode_catalogue(Catalogue.from_parquet(source), Light(), EmbeddingStore(Path(name) / "store", DIM))
        if report.encoded != 2 * size:
            raise SystemExit(f"{report.encoded} of {2 * size} contents were encoded")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


SCHEMA = pa.schema({"item_id": pa.string(), "title": pa.string(), "image": pa.binary()})


def batches(size: int) -> Iterator[pa.RecordBatch]:
    """Give so many items with a picture of noise each."""
    rng = np.random.default_rng(0)
    for start in range(0, size, ROWS):
        numbers = range(start, min(size, start + ROWS))
        columns = [
            [str(n) for n in numbers],
            [f"a title of some length, number {n}" for n in numbers],
            [_jpeg(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)) for _ in numbers],
        ]
        yield pa.record_batch(columns, schema=SCHEMA)


def _jpeg(noise: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise).resize((96, 96), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


if __name__ == "__main__":
    main()
