"""The encoders give exactly the vectors of the libraries themselves, written out here in the libraries' own words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel, AutoProcessor, AutoTokenizer, Siglip2Processor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from indexing.encoders import Encoder, load_encoder
from indexing.encoders.base import PixelEncoder, golden_images
from indexing.encoders.inference.checkpoints import pooled
from indexing.errors import EncoderError
from tests.tiny_models import tiny_align, tiny_chinese_clip, tiny_clip, tiny_open_clip, tiny_siglip, tiny_siglip2

Make = Callable[..., Path]
TEXTS = ["a red mug", "two children fly a kite over the beach " * 9, "", "size 42 ☂"]


def unit(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = torch.nn.functional.normalize(tensor, dim=1).numpy()
    return array


def pictures() -> list[Image.Image]:
    return [*golden_images(), Image.new("RGB", (200, 50), "teal")]


@torch.inference_mode()
def test_open_clip(tmp_path: Path) -> None:
    folder = tiny_open_clip(tmp_path / "model")
    encoder = load_encoder(f"open_clip:local-dir:{folder}")
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), unit(model.encode_text(tokenizer(TEXTS))), atol=1e-6)
    pixels = torch.stack([preprocess(picture) for picture in pictures()])
    np.testing.assert_allclose(encoder.encode_images(pictures()), unit(model.encode_image(pixels)), atol=1e-6)


@pytest.mark.parametrize("kind", ["custom text", "coca"])
@torch.inference_mode()
def test_open_clip_with_other_text_towers(tmp_path: Path, kind: str) -> None:
    folder = tiny_open_clip(tmp_path / "model")
    config = json.loads((folder / "open_clip_config.json").read_text())
    settings = config["model_cfg"]
    if kind == "custom text":
        model = open_clip.CustomTextCLIP(**settings)
    else:
        settings["text_cfg"] |= {"embed_cls": True, "context_length": 15, "output_tokens": True}
        settings["vision_cfg"] |= {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
        settings["multimodal_cfg"] = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
        model = open_clip.CoCa(**settings)
    settings["custom_text"] = True
    model.eval()
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    weights = {name: part.clone().contiguous() for name, part in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    encoder = load_encoder(f"open_clip:local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), unit(model.encode_text(tokenizer(TEXTS))), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "padding"),
    [
        (tiny_clip, True),
        (tiny_siglip, "max_length"),
        (tiny_siglip2, "max_length"),
        (tiny_chinese_clip, True),
        (tiny_align, "max_length"),
    ],
)
@torch.inference_mode()
def test_transformers(tmp_path: Path, make: Make, padding: bool | str) -> None:
    folder = make(tmp_path / "model")
    encoder = load_encoder(f"hf:{folder}")
    model = AutoModel.from_pretrained(folder).eval()
    tokenizer, processor = AutoTokenizer.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)
    tokens = tokenizer(TEXTS, padding=padding, truncation=True, max_length=16, return_tensors="pt")
    texts, images = (
        model.get_text_features(**tokens),
        model.get_image_features(**processor(pictures(), return_tensors="pt")),
    )
    texts, images = (part if isinstance(part, torch.Tensor) else part.pooler_output for part in (texts, images))
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), unit(texts), atol=1e-6)
    np.testing.assert_allclose(encoder.encode_images(pictures()), unit(images), atol=1e-6)


@pytest.mark.parametrize("make", [tiny_open_clip, tiny_clip, tiny_siglip])
def test_prepared_pictures_give_the_same_vectors(tmp_path: Path, make: Make) -> None:
    """Exactly where the library resizes with Pillow, and up to a step of a pixel's value where it does it by itself."""
    folder = make(tmp_path / "model")
    encoder = load_encoder(f"open_clip:local-dir:{folder}" if make is tiny_open_clip else f"hf:{folder}")
    assert isinstance(encoder, PixelEncoder)
    assert encoder.image_form is not None
    assert encoder.image_form.side == 32
    pixels = np.stack([encoder.image_form.apply(picture) for picture in pictures()])
    tolerance = 1e-6 if make is tiny_open_clip else 5e-3
    np.testing.assert_allclose(encoder.encode_pixels(pixels), encoder.encode_images(pictures()), atol=tolerance)


def test_preprocessing_that_no_form_can_say_stays_with_the_library(tmp_path: Path) -> None:
    encoder = load_encoder(f"hf:{tiny_align(tmp_path / 'model')}")
    assert isinstance(encoder, PixelEncoder)
    assert encoder.image_form is None  # it normalises twice


@pytest.mark.parametrize("make", [tiny_open_clip, tiny_clip, tiny_siglip])
def test_low_precision_gives_nearly_the_same_vectors(tmp_path: Path, make: Make) -> None:
    folder = make(tmp_path / "model")
    spec = f"open_clip:local-dir:{folder}" if make is tiny_open_clip else f"hf:{folder}"
    exact, low = load_encoder(spec, precision="float32"), load_encoder(spec, precision="bfloat16")
    assert (low.info.precision, low.info.fingerprint) == ("bfloat16", exact.info.fingerprint)
    for ours, theirs in (
        (low.encode_texts(TEXTS), exact.encode_texts(TEXTS)),
        (low.encode_images(pictures()), exact.encode_images(pictures())),
    ):
        assert (ours * theirs).sum(axis=1).min() > 0.999
    with pytest.raises(EncoderError, match="there is no precision 'int4'; choose auto or one of float32, bfloat16"):
        load_encoder(spec, precision="int4")


@torch.inference_mode()
def test_siglip2_with_its_own_tokenizer_and_processor(tmp_path: Path) -> None:
    siglip2 = pytest.importorskip("transformers.models.siglip2.tokenization_siglip2")  # since transformers 5
    folder = tiny_siglip2(tmp_path / "model")
    letters = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *"▁abcdefghijklmnopqrstuvwxyz0123456789"]
    tokenizer = siglip2.Siglip2Tokenizer(vocab={letter: number for number, letter in enumerate(letters)}, merges=[])
    images = AutoImageProcessor.from_pretrained(folder)
    Siglip2Processor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
    encoder, model = load_encoder(f"hf:{folder}"), AutoModel.from_pretrained(folder).eval()
    inputs = AutoProcessor.from_pretrained(folder)(text=["A Red mug", "x"], max_length=16, return_tensors="pt")
    expected = unit(torch.from_numpy(pooled(model.get_text_features(**inputs))))
    np.testing.assert_allclose(encoder.encode_texts(["A Red mug", "x"]), expected, atol=1e-6)
    np.testing.assert_array_equal(encoder.encode_texts(["a red MUG"]), encoder.encode_texts(["A Red mug"]))


@pytest.mark.parametrize("output", [torch.ones(2, 3), BaseModelOutputWithPooling(pooler_output=torch.ones(2, 3))])
def test_features_of_transformers_4_and_5(output: torch.Tensor) -> None:
    np.testing.assert_array_equal(pooled(output), np.ones((2, 3)))


CHANGES: dict[str, tuple[str, Callable[[Any], None]]] = {
    "clip image mean": ("preprocessor_config.json", lambda c: c.update(image_mean=[0.1, 0.2, 0.3])),
    "clip activation": ("config.json", lambda c: c["text_config"].update(hidden_act="gelu")),
    "clip merges": ("tokenizer.json", lambda c: c["model"]["merges"].pop()),
    "clip normalizer": ("tokenizer.json", lambda c: c.update(normalizer=None)),
    "open_clip image mean": ("open_clip_config.json", lambda c: c["preprocess_cfg"].update(mean=[0.1, 0.2, 0.3])),
    "open_clip pooling": ("open_clip_config.json", lambda c: c["model_cfg"]["vision_cfg"].update(pool_type="avg")),
    "open_clip activation": ("open_clip_config.json", lambda c: c["model_cfg"].update(quick_gelu=True)),
}


def load_tiny(folder: Path) -> Encoder:
    is_open_clip = (folder / "open_clip_config.json").is_file()
    return load_encoder(f"{'open_clip:local-dir:' if is_open_clip else 'hf:'}{folder}")


@pytest.mark.parametrize("change", CHANGES)
def test_the_fingerprint_follows_every_setting(tmp_path: Path, change: str) -> None:
    folder = (tiny_open_clip if change.startswith("open_clip") else tiny_clip)(tmp_path / "model")
    before = load_tiny(folder).info.fingerprint
    name, alter = CHANGES[change]
    config = json.loads((folder / name).read_text())
    alter(config)
    (folder / name).write_text(json.dumps(config))
    assert load_tiny(folder).info.fingerprint != before


@pytest.mark.parametrize("make", [tiny_clip, tiny_open_clip])
def test_the_fingerprint_follows_one_weight_but_not_the_folder(tmp_path: Path, make: Make) -> None:
    first = load_tiny(make(tmp_path / "first")).info.fingerprint
    (tmp_path / "first").rename(tmp_path / "moved")
    assert load_tiny(tmp_path / "moved").info.fingerprint == first
    weights = next((tmp_path / "moved").glob("*.safetensors"))
    parts = load_file(weights)
    parts[sorted(parts)[-1]].flatten()[0].add_(1)
    save_file(parts, weights, {"format": "pt"})
    assert load_tiny(tmp_path / "moved").info.fingerprint != first


@pytest.mark.parametrize("make", [tiny_clip, tiny_open_clip])
def test_files_that_are_cut_short_or_incomplete_are_refused(tmp_path: Path, make: Make) -> None:
    folder = make(tmp_path / "model")
    weights = next(folder.glob("*.safetensors"))
    parts = load_file(weights)
    del parts["text_projection.weight" if make is tiny_clip else "text_projection"]
    save_file(parts, weights, {"format": "pt"})
    with pytest.raises(EncoderError, match="text_projection"):
        load_tiny(folder)
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(EncoderError, match=f"cannot load .*{folder.name}.*: Error while deserializing"):
        load_tiny(folder)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["projection_dim"] = 20
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        EncoderError, match=r"no fitting weights for 'text_projection.weight', 'visual_projection.weight'"
    ):
        load_tiny(folder)


@pytest.mark.parametrize("make", [tiny_clip, tiny_siglip, tiny_open_clip])
def test_half_a_surrogate_pair_is_read_as_a_question_mark(tmp_path: Path, make: Make) -> None:
    encoder = load_tiny(make(tmp_path / "model"))
    np.testing.assert_array_equal(encoder.encode_texts(["a \ud83d mug"]), encoder.encode_texts(["a ? mug"]))


def test_other_families_are_refused(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(
        EncoderError, match="is a 'bert' model; supported are clip, siglip, siglip2, chinese_clip, align"
    ):
        load_tiny(folder)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = tiny_open_clip(tmp_path / "model")
    (folder / "open_clip_model.safetensors").rename(folder / "open_clip_pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"only open_clip_pytorch_model\.bin, a pickle that could run code"):
        load_encoder(f"open_clip:local-dir:{folder}")
    clip = tiny_clip(tmp_path / "clip")
    (clip / "model.safetensors").rename(clip / "pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"transformers cannot load hf:.*safetensors"):
        load_encoder(f"hf:{clip}")
