"""Two encoders as one: the first one's vectors untouched, the second one's sounds where they belong."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexing.arrays import Vectors, unit
from indexing.encoders import AudioEncoder, load_encoder
from indexing.encoders.alignment.bridge import BridgedEncoder, bridge_audio, default_bridge_texts
from indexing.encoders.base import EncoderInfo, check_golden, golden_images, golden_vectors, require
from indexing.errors import DamagedFileError, EncoderError, InputError
from indexing.media.audio import Sound
from indexing.media.files import Modality
from tests.tiny_models import tiny_clap
from tests.toy import DIM, ToyEncoder

WORDS = [f"word{number}" for number in range(60)]
TEXTS = [f"{first} {second}" for first in WORDS for second in WORDS[:10] if first != second]
TURN = np.linalg.qr(np.random.default_rng(5).normal(size=(DIM, DIM)))[0]


class ToyEars:
    """The toy encoder's space, turned and disturbed; a sound is a text, spelt in samples."""

    audio_rate = 1_000

    def __init__(self) -> None:
        self.toy = ToyEncoder()
        fingerprint = hashlib.sha256(b"ears").hexdigest()
        self.info = EncoderInfo("ears", DIM, (Modality.TEXT, Modality.AUDIO), fingerprint)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        turned = self.toy.encode_texts(texts) @ TURN
        return unit(turned + np.random.default_rng(len(texts)).normal(size=turned.shape) / 100)

    def encode_audio(self, sounds: Sequence[Sound]) -> Vectors:
        return self.encode_texts(["".join(map(chr, (sound * 128).round().astype(int) % 128)) for sound in sounds])

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        require(self, Modality.IMAGE)
        raise NotImplementedError


def spoken(text: str) -> Sound:
    return np.array([ord(letter) / 128 for letter in text], np.float32)


@pytest.fixture(scope="module")
def encoder() -> BridgedEncoder:
    return bridge_audio(ToyEncoder(), ToyEars(), TEXTS)


def test_texts_and_pictures_have_exactly_the_main_encoders_vectors(encoder: BridgedEncoder) -> None:
    np.testing.assert_array_equal(encoder.encode_texts(TEXTS), ToyEncoder().encode_texts(TEXTS))
    np.testing.assert_array_equal(encoder.encode_images(golden_images()), ToyEncoder().encode_images(golden_images()))


def test_sounds_land_beside_their_texts(encoder: BridgedEncoder) -> None:
    unseen = [f"{first} {second}" for first in WORDS for second in WORDS[30:33]]
    vectors = encoder.encode_audio([spoken(text) for text in unseen])
    found = (vectors @ encoder.encode_texts(unseen).T).argmax(axis=1)
    assert (found == np.arange(len(unseen))).mean() > 0.9
    assert encoder.bridge.report.scores[encoder.bridge.report.method].recall_at_1 > 0.9
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert encoder.encode_audio([]).shape == (0, DIM)


def test_it_says_what_it_is(encoder: BridgedEncoder) -> None:
    assert isinstance(encoder, AudioEncoder)
    assert encoder.info.name == "toy+ears"
    assert encoder.info.modalities == (Modality.TEXT, Modality.IMAGE, Modality.AUDIO)
    assert encoder.audio_rate == 1_000
    again = BridgedEncoder(ToyEncoder(), ToyEars(), type(encoder.bridge).from_bytes(encoder.bridge.to_bytes()))
    assert again.info == encoder.info
    check_golden(again, golden_vectors(encoder))
    others = (
        bridge_audio(ToyEncoder(), ToyEars(), TEXTS[1:]),
        bridge_audio(ToyEncoder(), ToyEars(), TEXTS, seed=1),
        bridge_audio(ToyEncoder(salt="x"), ToyEars(), TEXTS),
    )
    assert len({other.info.fingerprint for other in (encoder, *others)}) == 4


def test_what_does_not_fit_is_refused(encoder: BridgedEncoder, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="encoder 'toy' cannot embed audio"):
        bridge_audio(ToyEncoder(), ToyEncoder(), TEXTS)
    with pytest.raises(InputError, match="1 of 51 texts are there twice"):
        bridge_audio(ToyEncoder(), ToyEars(), [*TEXTS[:50], TEXTS[0]])
    clap = load_encoder(f"clap:{tiny_clap(tmp_path / 'clap')}")
    with pytest.raises(EncoderError, match=r"bridge maps 16 to 16 dimensions, but 'clap:.*' has 24 and 'toy' has 16"):
        BridgedEncoder(ToyEncoder(), clap, encoder.bridge)


def test_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_clap(tmp_path / "clap")
    monkeypatch.setattr("indexing.encoders.alignment.bridge.default_bridge_texts", lambda: TEXTS[:100])
    encoder = load_encoder(f"pocket+clap:{folder}")
    assert isinstance(encoder, BridgedEncoder)
    assert encoder.info.name == f"pocket+clap:{folder}"
    assert encoder.audio_rate == 8_000
    kept = load_encoder(f"pocket+clap:{folder}", bridge=encoder.bridge.to_bytes())
    assert kept.info == encoder.info
    check_golden(kept, golden_vectors(encoder), at_least=0.999999)
    with pytest.raises(DamagedFileError, match="bridge cannot be read"):
        load_encoder(f"pocket+clap:{folder}", bridge=b"bridge")
    with pytest.raises(EncoderError, match="encoder 'pocket' takes no bridge"):
        load_encoder("pocket", bridge=encoder.bridge.to_bytes())
    for name, message in (("pockets+clap:x", "no encoder 'pockets'"), ("pocket+clap:x", "'x' is neither a folder")):
        with pytest.raises(EncoderError, match=message):
            load_encoder(name)


def test_the_default_texts_are_the_samples() -> None:
    texts = default_bridge_texts()
    assert texts == sorted(set(texts))
    assert "bird" in texts
    assert "Duck Yellow II" in texts
