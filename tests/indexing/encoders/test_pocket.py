"""The pocket encoder equals the models it was made from, and finds what it should."""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image, ImageDraw
from safetensors import safe_open
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from indexing.encoders.pocket import (
    HEADS,
    HIDDEN,
    LAYERS,
    TEXT_DIM,
    TEXT_LAST_COMPONENT,
    WEIGHTS,
    ImageTower,
    PocketEncoder,
    TextTower,
    dequantise,
    padded,
    square,
)
from indexing.media.images import ImageLimits, decode_picture
from indexing.sample import items_path


@pytest.fixture(scope="module")
def encoder() -> PocketEncoder:
    return PocketEncoder()


@torch.inference_mode()
def test_the_text_tower_is_transformers_bert() -> None:
    """With the shipped weights, renamed back to transformers' names."""
    mine = dequantise(load_file(WEIGHTS / "text.safetensors"))
    tower = TextTower().eval()
    tower.load_state_dict(mine)
    config = BertConfig(
        hidden_size=TEXT_DIM, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=HIDDEN
    )
    bert = BertModel(config, add_pooling_layer=False).eval()
    names = {
        "embeddings.word_embeddings.weight": mine["words.weight"],
        "embeddings.position_embeddings.weight": mine["positions.weight"],
        "embeddings.token_type_embeddings.weight": torch.zeros(2, TEXT_DIM),
        "embeddings.LayerNorm.weight": mine["norm.weight"],
        "embeddings.LayerNorm.bias": mine["norm.bias"],
    }
    places = {
        "attention.output.dense": "attended",
        "attention.output.LayerNorm": "attended_norm",
        "intermediate.dense": "up",
        "output.dense": "down",
        "output.LayerNorm": "down_norm",
    }
    for layer in range(LAYERS):
        for part in ("weight", "bias"):
            three = mine[f"layers.{layer}.query_key_value.{part}"].chunk(3)
            for name, tensor in zip(("query", "key", "value"), three, strict=True):
                names[f"encoder.layer.{layer}.attention.self.{name}.{part}"] = tensor
            for theirs, ours in places.items():
                names[f"encoder.layer.{layer}.{theirs}.{part}"] = mine[f"layers.{layer}.{ours}.{part}"]
    bert.load_state_dict(names)
    ids = torch.randint(1000, 20000, (3, 11), generator=torch.Generator().manual_seed(0))
    real = torch.ones(3, 11, dtype=torch.bool)
    real[1, 6:] = False
    hidden = bert(input_ids=ids, attention_mask=real.long()).last_hidden_state
    kept = real[:, :, None].float()
    expected = torch.nn.functional.normalize((hidden * kept).sum(1) / kept.sum(1), dim=1)
    torch.testing.assert_close(tower(ids, real), expected, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_the_image_tower_is_timms_network_with_folded_norms() -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # statistics as after training, so that folding matters
            module.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    tensors = [part for name, part in theirs.state_dict().items() if "num_batches" not in name]
    mine = ImageTower().eval()
    for number, convolution in enumerate(m for m in mine.modules() if isinstance(m, torch.nn.Conv2d)):
        weight, scale, shift, mean, variance = tensors[5 * number : 5 * number + 5]
        factor = scale / torch.sqrt(variance + 1e-3)
        convolution.weight.copy_(weight * factor[:, None, None, None])
        convolution.bias.copy_(shift - mean * factor)  # type: ignore[union-attr]
    mine.classifier.load_state_dict(theirs.classifier.state_dict())
    pictures = torch.randn(2, 3, 224, 224)
    features, logits = mine(pictures)
    torch.testing.assert_close(logits, theirs(pictures), atol=1e-4, rtol=1e-3)
    pooled = theirs.forward_head(theirs.forward_features(pictures), pre_logits=True)
    torch.testing.assert_close(features[:, :1280], pooled, atol=1e-4, rtol=1e-3)


def test_eight_bits_are_enough() -> None:
    """The text tower says to 64 texts what the original float32 model says, up to a cosine of .999."""
    with safe_open(Path(__file__).parent / "minilm_reference.safetensors", "np") as reference:
        texts = json.loads(reference.metadata()["texts"])
        original = reference.get_tensor("vectors").astype(np.float32)
    tower = TextTower().eval()
    tower.load_state_dict(dequantise(load_file(WEIGHTS / "text.safetensors")))
    tokenizer = Tokenizer.from_file(str(WEIGHTS / "tokenizer.json"))
    tokenizer.no_padding()
    with torch.inference_mode():
        ours = np.concatenate([tower(*padded([tokenizer.encode(text).ids])).numpy() for text in texts])
    cosines = (ours * original).sum(axis=1) / np.linalg.norm(original, axis=1)
    assert len(texts) == 64
    assert cosines.min() >= 0.999


def test_packed_weights_are_the_same_tower(encoder: PocketEncoder) -> None:
    """Texts alone and padded, from one token to the most; vectors differ by rounding."""
    tower = TextTower().eval()
    tower.load_state_dict(dequantise(load_file(WEIGHTS / "text.safetensors")))
    texts = ["", "mug", "a slice of fruit", "an old car in front of a small house", "many words " * 100]
    tokenizer = Tokenizer.from_file(str(WEIGHTS / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(128)
    with torch.inference_mode():
        plain = tower(*padded([tokenizer.encode(text).ids for text in texts]))
        expected = torch.cat([encoder._texts_content(plain), torch.full((len(texts), 1), TEXT_LAST_COMPONENT)], dim=1)
        expected = torch.nn.functional.normalize(expected, dim=1)
    together, alone = encoder.encode_texts(texts), [encoder.encode_texts([text])[0] for text in texts]
    np.testing.assert_allclose(together, expected, atol=1e-6)
    np.testing.assert_allclose(alone, expected, atol=1e-6)


def test_the_weights_are_small_and_hold_no_code() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 40_000_000
    assert {path.suffix for path in WEIGHTS.iterdir()} == {".safetensors", ".json", ".md"}


def test_drawings_of_the_sample_are_found_by_their_titles(encoder: PocketEncoder) -> None:
    """Among pictures whose titles it was never trained on."""
    table = pq.read_table(items_path(), columns=["title", "image", "split"])
    unseen = table.filter(np.array([split == "test" for split in table["split"].to_pylist()]))
    titles = np.array([title.lower() for title in unseen["title"].to_pylist()])
    images = encoder.encode_images([decode_picture(data, ImageLimits()) for data in unseen["image"].to_pylist()])
    wanted = np.unique(titles)
    order = np.argsort(-(encoder.encode_texts(wanted.tolist()) @ images.T), axis=1)
    found = (titles[order[:, :10]] == wanted[:, None]).any(axis=1)
    chance = 10 / len(titles)
    assert found.mean() > 0.4 > 10 * chance


def test_plain_shapes_and_words(encoder: PocketEncoder) -> None:
    texts = encoder.encode_texts(["a cup of coffee", "a mug of tea", "an aeroplane", "a jet plane"])
    agreement = texts @ texts.T
    assert agreement[0, 1] > max(agreement[0, 2], agreement[0, 3])
    assert agreement[2, 3] > max(agreement[0, 2], agreement[1, 2])
    heart = Image.new("RGB", (200, 200), "white")
    draw = ImageDraw.Draw(heart)
    draw.ellipse((30, 40, 105, 115), "red")
    draw.ellipse((95, 40, 170, 115), "red")
    draw.polygon([(36, 95), (164, 95), (100, 170)], "red")
    scores = (
        encoder.encode_texts(["heart", "printer", "tree", "bus", "fish", "guitar"]) @ encoder.encode_images([heart])[0]
    )
    assert scores.argmax() == 0


def test_a_picture_is_fitted_whole_on_white() -> None:
    wide = Image.new("RGB", (400, 100), (10, 20, 30))
    pixels = square(wide)
    assert pixels.shape == (224, 224, 3)
    assert (pixels[112, [0, 112, 223]] == [10, 20, 30]).all()
    assert (pixels[[0, 40, 200, 223], 112] == 255).all()


def test_weights_are_found_inside_the_package() -> None:
    assert Path(str(files("indexing"))) / "encoders" / "pocket_weights" == WEIGHTS
