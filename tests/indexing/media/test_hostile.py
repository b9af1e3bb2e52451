"""Every hostile file ends encoded or quarantined with a reason, in bounded work and memory; its neighbours stay.

Work is seconds of the processor that the process itself took, which others on a busy machine do not add to.
"""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.item_ids import ItemIds
from indexing.encoders import load_encoder
from indexing.media.decode import Decoded, Task, Unusable
from indexing.media.files import Kind, Modality
from indexing.media.image_form import ImageForm
from indexing.media.pool import DecodePool, processor_seconds
from indexing.store.encode import EncodeConfig, encode_catalogue
from indexing.store.store import EmbeddingStore
from tests.hostile import HOSTILE_TEXTS, hostile_images, hostile_sounds
from tests.tiny_models import tiny_open_clip
from tests.toy import COLOURS, DIM, ToyEncoder, picture

SECONDS, MEGABYTES = 2.0, 300
REFUSED = {
    "PNG of 40 million lines": "image of 1 x 40000000 is over 65535 pixels on one side",
    "WebP of 39 megapixels": "image of 6300 x 6300 is over 18000000 pixels of a WEBP",
    "JPEG of 20,000 scans": "image of 20006 scans is over 100 scans",
    "JPEG of 100,000 segments": "image of over 1000 parts before its pixels end",
    "PNG of 100,000 chunks": "image of over 20000 parts before its pixels end",
}
TASK = Task(ImageForm(64, "shortest"), audio_rate=16_000)
FILES = [(Kind.IMAGE, *file) for file in hostile_images()] + [(Kind.AUDIO, *file) for file in hostile_sounds()]


def peak_megabytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def test_there_are_enough() -> None:
    assert len(FILES) + len(HOSTILE_TEXTS) >= 60


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks of memory are read from /proc")
def test_each_file_is_decoded_or_refused_in_time_and_memory() -> None:
    good = dict(hostile_images())["one pixel"]
    outcomes: dict[str, Decoded | Unusable] = {}
    with DecodePool(TASK, workers=1, seconds=300.0) as pool:
        before_each = pool.submit(Kind.IMAGE, good).result()
        assert isinstance(before_each, Decoded)
        (worker,) = pool._workers
        for kind, name, data in FILES:
            assert worker._process is not None
            pid = worker._process.pid
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # forget the peak so far
            before, started = peak_megabytes(pid), processor_seconds(pid)
            assert started is not None
            outcomes[name] = pool.submit(kind, data).result()
            ended = processor_seconds(pid)
            assert ended is not None
            assert ended - started < SECONDS, name
            assert peak_megabytes(pid) - before < MEGABYTES, name
            after = pool.submit(Kind.IMAGE, good).result()
            assert isinstance(after, Decoded), name
            np.testing.assert_array_equal(after.arrays[0], before_each.arrays[0])
    refused = {name: outcome.reason for name, outcome in outcomes.items() if isinstance(outcome, Unusable)}
    assert all(refused.values())
    assert not [name for name, reason in refused.items() if "ended its process" in reason or "took over" in reason]
    for name in ("PNG of 169 megapixels", "PNG that claims 4 gigapixels", "JPEG that claims 65,500 x 65,500"):
        assert "over 40000000 pixels" in refused[name]
    for name in ("HTML", "SVG", "PostScript", "PDF", "TIFF", "a pickle", "a URL", "a path", "random bytes"):
        assert refused[name] == (
            "image is TIFF, which is not read: convert it to PNG or JPEG"
            if name == "TIFF"
            else "image is none of JPEG, PNG, WEBP, GIF, BMP, AVIF, HEIF"
        )
    for name in ("CMYK JPEG", "16-bit PNG", "one pixel", "a line", "GIF of 3,000 frames", "broken EXIF"):
        assert isinstance(outcomes[name], Decoded), name
    for name, reason in REFUSED.items():
        assert refused[name] == reason
    hour = outcomes["an hour of silence"]
    assert isinstance(hour, Decoded)
    assert len(hour.arrays[0]) == 60 * 16_000


def test_neighbours_keep_their_vectors_and_sums_reconcile(tmp_path: Path) -> None:
    good = [{"item_id": f"good-{colour}", "title": f"{colour} mug", "image": picture(colour)} for colour in COLOURS]
    bad = [
        {"item_id": name, "title": None, "image": data} for name, data in hostile_images() if data  # empty is none
    ]  # fmt: skip
    mixed = [row for pair in zip(bad, good * len(bad), strict=False) for row in pair if row in bad or row in good]
    rows = list({str(row["item_id"]): row for row in mixed}.values())
    stores = {}
    for name, table in (("alone", good), ("mixed", rows)):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.Table.from_pylist(table), path)
        stores[name] = EmbeddingStore(tmp_path / name, DIM)
        report = encode_catalogue(Catalogue.from_parquet(path), ToyEncoder(), stores[name], config=EncodeConfig(8))
        counted = report.encoded + report.copied + report.resumed + report.quarantined
        assert counted == sum(row["title"] is not None for row in table) + len(table)
    ids = ItemIds([str(row["item_id"]) for row in good])
    for modality in (Modality.TEXT, Modality.IMAGE):
        alone, mixed_in = (stores[name].collect(ids, modality)[0] for name in ("alone", "mixed"))
        np.testing.assert_allclose(alone, mixed_in, atol=1e-3)  # a step of half precision, in which they are stored
    everything = list(stores["mixed"].records([str(row["item_id"]) for row in rows]))
    assert all((record.vector is None) == bool(record.reason) for record in everything)


def test_odd_texts_are_texts(tmp_path: Path) -> None:
    encoder = load_encoder(f"open_clip:local-dir:{tiny_open_clip(tmp_path / 'model')}")
    for chosen in (encoder, load_encoder("pocket")):
        started = time.thread_time()
        vectors = chosen.encode_texts(list(HOSTILE_TEXTS.values()))
        assert time.thread_time() - started < SECONDS * len(HOSTILE_TEXTS)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
