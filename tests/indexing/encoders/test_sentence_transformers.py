"""sentence-transformers: its own vectors, and texts that stay texts whatever they look like."""

import json
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPProcessor

from indexing.encoders import Encoder, load_encoder
from indexing.encoders.base import check_golden, golden_images, golden_vectors
from indexing.errors import EncoderError, MissingExtraError
from indexing.media.files import Modality
from tests.tiny_models import tiny_bert, tiny_clip

library = pytest.importorskip("sentence_transformers")
from sentence_transformers.base.modules import Dense, Normalize, Transformer  # noqa: E402
from sentence_transformers.sentence_transformer.modules import CLIPModel, Pooling  # noqa: E402

TEXTS = ["a red mug", "two children fly a kite over the beach " * 9, "", "size 42 ☂", "x"]


def tiny_text(folder: Path, seed: int = 0) -> Path:
    """BERT, pooling, a projection, normalisation."""
    bert = Transformer(str(tiny_bert(folder.with_name(folder.name + "-bert"), seed)), max_seq_length=16)
    parts = [bert, Pooling(32, "mean"), Dense(32, 20), Normalize()]
    library.SentenceTransformer(modules=parts, device="cpu").save(str(folder), create_model_card=False)
    return folder


def tiny_pictures(folder: Path, kind: type[Transformer] = CLIPModel) -> Path:
    """A CLIP as the models ``clip-ViT-…`` are saved, or as newer ones are."""
    clip = tiny_clip(folder.with_name(folder.name + "-clip"))
    CLIPProcessor.from_pretrained(clip, model_max_length=16).save_pretrained(clip)
    library.SentenceTransformer(modules=[kind(str(clip))], device="cpu").save(str(folder), create_model_card=False)
    return folder


def load(folder: Path) -> Encoder:
    return load_encoder(f"st:{folder}")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_text(tmp_path_factory.mktemp("st") / "text")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pictures(tmp_path_factory.mktemp("st") / "pictures")


def test_texts_have_the_vectors_of_the_library(text: Path) -> None:
    encoder, model = load(text), library.SentenceTransformer(str(text), device="cpu")
    assert encoder.info.modalities == (Modality.TEXT,)
    assert encoder.info.dim == 20
    expected = model.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), expected, atol=1e-6)
    many = [*TEXTS, *reversed(TEXTS)] * 8
    np.testing.assert_allclose(encoder.encode_texts(many), np.tile([*expected, *expected[::-1]], (8, 1)), atol=2e-5)
    assert encoder.encode_texts([]).shape == (0, 20)
    np.testing.assert_array_equal(encoder.encode_texts(["a \ud83d"]), encoder.encode_texts(["a ?"]))
    with pytest.raises(EncoderError, match="cannot embed image, only text"):
        encoder.encode_images(golden_images())


@pytest.mark.parametrize("kind", [CLIPModel, Transformer])
def test_pictures_have_the_vectors_of_the_library(tmp_path: Path, kind: type[Transformer]) -> None:
    folder = tiny_pictures(tmp_path / "model", kind)
    encoder, model = load(folder), library.SentenceTransformer(str(folder), device="cpu")
    if "text" not in model.modalities:
        pytest.skip("transformers cannot tell that it takes texts")
    assert encoder.info.modalities == (Modality.TEXT, Modality.IMAGE)
    expected = model.encode(golden_images(), normalize_embeddings=True)
    np.testing.assert_allclose(encoder.encode_images(golden_images()), expected, atol=1e-6)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), model.encode(TEXTS, normalize_embeddings=True), atol=1e-6)
    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    white = Image.new("RGB", (40, 40), "white")
    np.testing.assert_allclose(encoder.encode_images([clear]), encoder.encode_images([white]), atol=1e-6)
    assert encoder.encode_images([]).shape == (0, encoder.info.dim)


def test_a_default_prompt_is_used_and_part_of_the_fingerprint(text: Path, tmp_path: Path) -> None:
    model = library.SentenceTransformer(str(text), device="cpu", prompts={"find": "find "}, default_prompt_name="find")
    model.save(str(tmp_path / "model"), create_model_card=False)
    prompted, plain = load(tmp_path / "model"), load(text)
    np.testing.assert_allclose(prompted.encode_texts(["a mug"]), plain.encode_texts(["find a mug"]), atol=1e-6)
    assert prompted.info.fingerprint != plain.info.fingerprint


happened: list[tuple[str, object]] = []
watching = False


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if watching and event in ("open", "os.open", "socket.connect", "socket.getaddrinfo"):
        happened.append((event, arguments[0]))


sys.addaudithook(watch)  # sees every way of opening; it cannot be removed again, so a flag decides


@pytest.mark.parametrize("made", ["text", "pictures"])
def test_a_text_is_a_text_whatever_it_looks_like(
    made: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    global watching
    encoder = load(request.getfixturevalue(made))
    monkeypatch.chdir(tmp_path)
    golden_images()[0].save("x.png")
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.settimeout(0.2)
        address = f"127.0.0.1:{canary.getsockname()[1]}/x.png"
        lookalikes = ["x.png", str(tmp_path / "x.png"), f"http://{address}", f"https://{address}", "https://youtu.be/a"]
        lookalikes += ["data:image/png;base64,AAAA", f"file://{tmp_path}/x.png"]
        happened.clear()
        watching = True
        try:
            vectors = encoder.encode_texts(lookalikes)
        finally:
            watching = False
        with pytest.raises(TimeoutError):
            canary.accept()
    assert happened == []  # no file opened, no name looked up, no connection made
    if Modality.IMAGE in encoder.info.modalities:
        with Image.open(tmp_path / "x.png") as picture:
            assert (vectors @ encoder.encode_images([picture])[0] < 0.999).all()
    (tmp_path / "x.png").unlink()
    np.testing.assert_allclose(encoder.encode_texts(lookalikes), vectors, atol=1e-6)
    # What the model makes of the characters, without the library's look at them.
    model = library.SentenceTransformer(str(request.getfixturevalue(made)), device="cpu")
    tokens = model.tokenizer(lookalikes, padding=True, truncation=True, return_tensors="pt")
    features = model({**tokens, "modality": "text"})["sentence_embedding"].detach().numpy()
    np.testing.assert_allclose(vectors, features / np.linalg.norm(features, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
def test_the_library_itself_would_have_opened_it(pictures: Path, tmp_path: Path) -> None:
    golden_images()[0].save(tmp_path / "x.png")
    model = library.SentenceTransformer(str(pictures), device="cpu")
    opened = model.encode([str(tmp_path / "x.png")], normalize_embeddings=True)
    with Image.open(tmp_path / "x.png") as picture:
        np.testing.assert_allclose(opened, load(pictures).encode_images([picture]), atol=1e-5)


def test_two_loads_are_the_same_encoder(text: Path, pictures: Path, tmp_path: Path) -> None:
    for folder in (text, pictures):
        first, again = load(folder), load(folder)
        assert first.info == again.info
        assert len(first.info.fingerprint) == 64
        check_golden(again, golden_vectors(first))
    assert load(tiny_text(tmp_path / "other", seed=1)).info.fingerprint != load(text).info.fingerprint


@pytest.mark.parametrize(
    ("file", "alter"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "cls", "pooling_mode_cls_token": True}),
        ("2_Dense/config.json", {"activation_function": "torch.nn.modules.activation.GELU"}),
        ("config.json", {"hidden_act": "relu"}),
    ],
)
def test_the_fingerprint_follows_every_setting(tmp_path: Path, text: Path, file: str, alter: dict[str, object]) -> None:
    folder = tiny_text(tmp_path / "model")
    assert load(folder).info.fingerprint == load(text).info.fingerprint
    config = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(config | alter))
    assert load(folder).info.fingerprint != load(text).info.fingerprint


def test_missing_weights_are_refused_unless_nothing_depends_on_them(tmp_path: Path, text: Path) -> None:
    folder = tiny_text(tmp_path / "model")
    parts = load_file(folder / "model.safetensors")
    del parts["pooler.dense.weight"]  # the mean of the tokens does not need it
    save_file(parts, folder / "model.safetensors", {"format": "pt"})
    check_golden(load(folder), golden_vectors(load(text)))
    assert load(folder).info.fingerprint == load(folder).info.fingerprint
    del parts["encoder.layer.0.attention.self.query.weight"]
    save_file(parts, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderError, match="other vectors at each load: its files lack weights"):
        load(folder)


def test_a_cached_model_needs_no_hub(tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cached = tmp_path / "models--org--model"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    shutil.copytree(text, cached / "snapshots" / ("0" * 40))
    check_golden(load_encoder("st:org/model"), golden_vectors(load(text)))
    (cached / "snapshots" / ("0" * 40) / "modules.json").unlink()
    with pytest.raises(EncoderError, match=r"cached but cannot be loaded offline: modules\.json is not in the cache"):
        load_encoder("st:org/model")


@pytest.mark.parametrize("part", ["", "2_Dense"])
def test_pickled_weights_are_refused_and_never_read(tmp_path: Path, part: str) -> None:
    folder = tiny_text(tmp_path / "model")
    (folder / part / "model.safetensors").rename(folder / part / "pytorch_model.bin")
    with pytest.raises(
        EncoderError, match=rf"no model\.safetensors in '{part or '.'}', only pytorch_model\.bin, a pickle"
    ):
        load(folder)


def test_code_and_other_models_are_refused(tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_text(tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "evil.Pooling"
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "evil.py").write_text("raise SystemExit('run')")
    with pytest.raises(EncoderError, match=r"needs code of its own, 'evil\.Pooling', which is never run"):
        load(folder)
    with pytest.raises(EncoderError, match=r"is no sentence-transformers model: it has no modules\.json"):
        load(tiny_bert(tmp_path / "bert"))
    with pytest.raises(EncoderError, match="'nothing' is neither a folder nor a model of the form ORG/REPO"):
        load_encoder("st:nothing")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r'pip install "\.\[st\]"'):
        load(text)


def no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.load", lambda *_, **__: pytest.fail("a pickle was read"))


@pytest.mark.parametrize("decoy", ["decoy.safetensors", "other_model.safetensors", "model.safetensors.bak"])
def test_a_decoy_beside_a_pickle_does_not_help_it(tmp_path: Path, decoy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_text(tmp_path / "model")
    part = folder / "2_Dense"
    shutil.copy(part / "model.safetensors", part / decoy)
    (part / "model.safetensors").rename(part / "pytorch_model.bin")
    no_pickle(monkeypatch)
    with pytest.raises(EncoderError, match=r"no model\.safetensors in '2_Dense', only pytorch_model\.bin, a pickle"):
        load(folder)


@pytest.mark.parametrize("pickle", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin"])
def test_a_pickle_below_a_router_is_refused(tmp_path: Path, pickle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_text(tmp_path / "model")
    router = folder / "0_Router"
    shutil.move(folder / "2_Dense", router / "a_Dense")
    (router / "a_Dense" / "model.safetensors").rename(router / "a_Dense" / pickle)
    (folder / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "0_Router", "type": "sentence_transformers.models.Router"}])
    )
    types = {"a_Dense": "sentence_transformers.models.Dense"}
    (router / "router_config.json").write_text(
        json.dumps({"types": types, "structure": {"query": ["a_Dense"]}, "parameters": {}})
    )
    no_pickle(monkeypatch)
    with pytest.raises(EncoderError, match=r"no model\.safetensors in '0_Router/a_Dense', only pytorch_model"):
        load(folder)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([{"type": "sentence_transformers.models.Dense", "path": "../other"}], "names a part outside its folder"),
        ([{"type": "sentence_transformers.base.model.torch", "path": ""}], "needs code of its own"),
        ([{"path": ""}], "list of modules that cannot be read"),
        ({"type": 5}, "list of modules that cannot be read"),
        ([{"type": 5, "path": ""}], "list of modules that cannot be read"),
    ],
)
def test_a_list_of_modules_is_checked_before_anything_is_loaded(
    tmp_path: Path, modules: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_text(tmp_path / "model")
    (folder / "modules.json").write_text(json.dumps(modules))
    no_pickle(monkeypatch)
    with pytest.raises(EncoderError, match=message):
        load(folder)
