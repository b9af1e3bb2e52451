"""Sounds and films through the whole path: from files in a catalogue to answers that name the part that was met."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from numpy.typing import NDArray
from PIL import Image

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import BRIDGE
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.encoders.alignment.bridge import BridgedEncoder, bridge_audio
from indexing.errors import EncoderError, InputError
from indexing.media.files import Modality
from retrieval.retriever.retriever import Retriever
from tests.indexing.media.test_video import film
from tests.tiny_models import tiny_clap
from tests.toy import COLOURS, ToyEncoder, picture

RATE = 8_000


def tone(hertz: float, seconds: float = 0.8) -> NDArray[np.float32]:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def wav(samples: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source of five tones; one more is no sound, and one more a path."""
    folder = tmp_path_factory.mktemp("sounds")
    (folder / "high.wav").write_bytes(wav(tone(3000)))
    rows = [
        {"item_id": f"{hertz} hertz", "title": f"a tone of {hertz}", "audio": {"bytes": wav(tone(hertz)), "path": None}}
        for hertz in (200, 400, 800, 1600)
    ]
    rows.append({"item_id": "high", "title": "a high tone", "audio": {"bytes": None, "path": "high.wav"}})
    rows.append({"item_id": "broken", "title": "no sound", "audio": {"bytes": b"RIFF no sound", "path": None}})
    pq.write_table(pa.Table.from_pylist(rows), folder / "items.parquet")
    return folder / "items.parquet"


def test_sounds_are_found_by_sounds(sounds: Path, tmp_path: Path) -> None:
    encoder = load_encoder(f"clap:{tiny_clap(tmp_path / 'clap')}")
    bundle = build_bundle(Catalogue.open(sounds), encoder, tmp_path / "bundle")
    assert bundle.manifest.counts["embeddings"] == {"text": 6, "audio": 5}
    assert bundle.manifest.counts["quarantined"] == 1
    retriever = Retriever.load(tmp_path / "bundle")
    found = retriever.search_audio([wav(tone(800)), tone(200), sounds.parent / "high.wav"], k=6)
    parts = retriever.nearest_parts(found)
    for hits, met, wanted in zip(found, parts, ("800 hertz", "200 hertz", "high"), strict=True):
        nearest = max(((one, hit) for one, hit in zip(met, hits, strict=True) if one), key=lambda pair: pair[0].score)
        assert (nearest[1].item_id, nearest[0].modality) == (wanted, Modality.AUDIO)
        assert nearest[0].score == pytest.approx(1, abs=2e-3)
    with pytest.raises(InputError, match="query sound 0: sound is broken"):
        retriever.search_audio([b"RIFF no sound"])


def test_a_bridge_lives_in_its_bundle(sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clap = load_encoder(f"clap:{tiny_clap(tmp_path / 'clap')}")
    texts = [f"{colour} thing number {n}" for n in range(20) for colour in COLOURS]
    encoder = bridge_audio(ToyEncoder(), clap, texts)
    bundle = build_bundle(Catalogue.open(sounds), encoder, tmp_path / "bundle")
    assert bundle.has(BRIDGE)
    assert bundle.manifest.counts["bridge"] == encoder.bridge.report.to_json()

    def load(name: str, *, precision: str, bridge: bytes | None) -> BridgedEncoder:
        assert (name, precision) == (encoder.info.name, "float32")
        assert bridge == encoder.bridge_bytes()
        return encoder

    monkeypatch.setattr("retrieval.retriever.loaded_bundle.load_encoder", load)
    retriever = Retriever.load(tmp_path / "bundle")
    assert len(retriever.search_audio([tone(400)], k=3)[0]) == 3
    assert len(retriever.search_texts(["a tone of 400"], k=3)[0]) == 3


def test_an_encoder_that_hears_nothing_says_so(tmp_path: Path) -> None:
    rows = [{"item_id": "a", "title": "mug", "audio": wav(tone(200))}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "items.parquet")
    bundle = build_bundle(Catalogue.open(tmp_path / "items.parquet"), ToyEncoder(), tmp_path / "bundle")
    assert bundle.manifest.counts["embeddings"] == {"text": 1, "image": 0}
    with pytest.raises(EncoderError, match="'toy' cannot embed audio"):
        Retriever(bundle, ToyEncoder()).search_audio([tone(200)])


def test_a_film_is_its_frames_and_says_which_was_met(tmp_path: Path) -> None:
    """Red for two seconds, then blue; and an item with a picture before the film."""
    data = film("mp4", [COLOURS["red"]] * 2 + [COLOURS["blue"]] * 2)
    rows = [
        {"item_id": "film", "title": None, "image": None, "video": data},
        {"item_id": "both", "title": None, "image": picture("green"), "video": data},
        {"item_id": "cut", "title": "half a film", "image": None, "video": data[: len(data) // 2]},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "items.parquet")
    build_bundle(Catalogue.open(tmp_path / "items.parquet"), ToyEncoder(), tmp_path / "bundle")
    bundle = Bundle.open(tmp_path / "bundle")
    labels = bundle.parts[Modality.IMAGE].labels
    assert labels[0] == "0 at 0.2 s"
    assert labels[8:10] == ["0", "1 at 0.2 s"]
    assert len(labels) == 17
    retriever = Retriever(bundle, ToyEncoder())
    found = retriever.search_images([Image.new("RGB", (8, 8), COLOURS["blue"])], k=2)
    for part in retriever.nearest_parts(found)[0]:
        assert part is not None
        assert part.modality is Modality.IMAGE
        assert float(part.label.split(" at ")[1].removesuffix(" s")) >= 2
        assert part.score > 0.99
    again = build_bundle(Catalogue.open(tmp_path / "items.parquet"), ToyEncoder(), tmp_path / "bundle")
    assert again.manifest.counts["encoding"]["encoded"] == 0
    assert again.parts[Modality.IMAGE].labels == labels
