"""Cross-encoders: the library's own scores, pair by pair, and models that are not one refused."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from indexing.encoders.cross_encoder import CrossEncoder, batches_by_length, load_cross_encoder
from indexing.errors import EncoderError, MissingExtraError
from tests.tiny_models import tiny_bert, tiny_cross_encoder

library = pytest.importorskip("sentence_transformers")

PAIRS = [
    ("a red mug", "two children fly a kite over the beach " * 9),
    ("a red mug", "a red mug"),
    ("", "size 42 ☂"),
    ("http www", ""),
    ("x.png", "http://127.0.0.1:9/x.png"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_cross_encoder(tmp_path_factory.mktemp("pairs") / "model")


def test_scores_are_those_of_the_library_pair_by_pair(folder: Path) -> None:
    model = library.CrossEncoder(str(folder), device="cpu")
    expected = [float(model.predict(pair)) for pair in PAIRS]
    assert np.ptp(expected) > 0.01
    scorer = load_cross_encoder(str(folder))
    np.testing.assert_allclose(scorer.score(PAIRS), expected, atol=1e-6)
    many = [PAIRS[place % 5] for place in range(300)]  # several batches of mixed lengths
    np.testing.assert_allclose(scorer.score(many), np.tile(expected, 60), atol=1e-5)
    assert scorer.score([]).shape == (0,)
    np.testing.assert_array_equal(scorer.score([("a \ud83d", "b")]), scorer.score([("a ?", "b")]))


def test_batches_hold_every_text_once_and_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(0, 500, 1_000).tolist()
    batches = list(batches_by_length(lengths, characters=2_000, max_pairs=16))
    assert sorted(place for batch in batches for place in batch) == list(range(1_000))
    assert max(map(len, batches)) == 16
    assert max(len(batch) * max(lengths[place] for place in batch) for batch in batches) <= 2_000
    assert list(batches_by_length([5_000], characters=10)) == [[0]]


def test_a_saved_model_of_the_library_is_the_same(folder: Path, tmp_path: Path) -> None:
    model = library.CrossEncoder(str(folder), device="cpu")
    model.save(str(tmp_path / "saved"), create_model_card=False)
    assert (tmp_path / "saved" / "modules.json").is_file()
    scores = load_cross_encoder(str(tmp_path / "saved")).score(PAIRS)
    np.testing.assert_array_equal(scores, load_cross_encoder(str(folder)).score(PAIRS))


def test_what_does_not_score_is_refused(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EncoderError, match="other scores at each load: its files lack weights"):
        load_cross_encoder(str(tiny_bert(tmp_path / "bert")))
    with pytest.raises(EncoderError, match="gives 3 numbers a pair"):
        load_cross_encoder(str(tiny_cross_encoder(tmp_path / "three", labels=3)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(EncoderError, match=r"is no cross-encoder: it has neither modules\.json nor config\.json"):
        load_cross_encoder(str(tmp_path / "empty"))
    pickled = tiny_cross_encoder(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"only pytorch_model\.bin, a pickle"):
        load_cross_encoder(str(pickled))
    coded = tiny_cross_encoder(tmp_path / "coded")
    (coded / "modules.json").write_text(json.dumps([{"type": "evil.Scorer", "path": ""}]))
    with pytest.raises(EncoderError, match=r"needs code of its own, 'evil\.Scorer', which is never run"):
        load_cross_encoder(str(coded))
    damaged = tiny_cross_encoder(tmp_path / "damaged")
    parts = load_file(damaged / "model.safetensors")
    parts["classifier.bias"] *= float("nan")
    save_file(parts, damaged / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderError, match=r"gives nan for .*: its weights are damaged"):
        load_cross_encoder(str(damaged))
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r'pip install "\.\[st\]"'):
        load_cross_encoder(str(folder))


def test_a_pickle_beside_safetensors_is_not_read(tmp_path: Path, folder: Path) -> None:
    both = tiny_cross_encoder(tmp_path / "both")
    (both / "pytorch_model.bin").write_bytes(b"no weights, and nothing that anybody should open")
    np.testing.assert_array_equal(
        load_cross_encoder(str(both)).score(PAIRS), load_cross_encoder(str(folder)).score(PAIRS)
    )


def test_a_model_that_sees_is_refused() -> None:
    seeing = SimpleNamespace(modalities=["text", "image", ("image", "text")], num_labels=1)
    with pytest.raises(EncoderError, match=r"org/model also reads .*image.*: name a cross-encoder for texts alone"):
        CrossEncoder("org/model", seeing)


def test_a_name_of_the_hub_fails_at_once_or_loads_from_the_cache(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match="'org/model' is not in the cache and HF_HUB_OFFLINE is set: name a local"):
        load_cross_encoder("org/model")
    with pytest.raises(EncoderError, match="'nothing' is neither a folder nor a model of the form ORG/REPO"):
        load_cross_encoder("nothing")
    cached = tmp_path / "models--org--model"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    shutil.copytree(folder, cached / "snapshots" / ("0" * 40))
    expected = load_cross_encoder(str(folder)).score(PAIRS)
    np.testing.assert_array_equal(load_cross_encoder("org/model").score(PAIRS), expected)
