"""One CLIP with random weights in the formats of three libraries, so that their speed can be compared."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import CLIPModel as ClipModule
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

ARCHITECTURE = "ViT-B-32"
BATCH = 64
System: TypeAlias = dict[str, Callable[[Any], Any]]
"""What embeds ``images`` and ``texts``."""


def open_clip_folder(folder: Path, seed: int) -> open_clip.CLIP:
    """Save a random model as an open_clip folder, and give it."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    model = open_clip.create_model(ARCHITECTURE).eval()
    config = {
        "model_cfg": open_clip.get_model_config(ARCHITECTURE),
        "preprocess_cfg": open_clip.get_model_preprocess_cfg(model),
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(
        {name: part.contiguous() for name, part in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return model


def hugging_face_folder(folder: Path, model: open_clip.CLIP) -> Path:
    """Save the same weights under the names of transformers, with tokenizer and preprocessing."""
    text, vision = model.transformer, model.visual
    config = CLIPConfig(
        text_config={"hidden_act": "gelu", "hidden_size": 512, "eos_token_id": 49407, "bos_token_id": 49406},
        vision_config={"hidden_act": "gelu", "patch_size": 32},
        projection_dim=512,
    )
    renamed = {
        "vision_model.embeddings.class_embedding": vision.class_embedding,
        "vision_model.embeddings.position_embedding.weight": vision.positional_embedding,
        "vision_model.embeddings.patch_embedding.weight": vision.conv1.weight,
        "vision_model.pre_layrnorm": vision.ln_pre,
        "vision_model.post_layernorm": vision.ln_post,
        "visual_projection.weight": vision.proj.T,
        "text_model.embeddings.token_embedding.weight": model.token_embedding.weight,
        "text_model.embeddings.position_embedding.weight": model.positional_embedding,
        "text_model.final_layer_norm": model.ln_final,
        "text_projection.weight": model.text_projection.T,
        "logit_scale": model.logit_scale,
    }
    for prefix, blocks in (("text_model", text.resblocks), ("vision_model", vision.transformer.resblocks)):
        for number, block in enumerate(blocks):
            renamed |= _layer(f"{prefix}.encoder.layers.{number}", block)
    weights: dict[str, torch.Tensor] = {}
    for name, part in renamed.items():
        if isinstance(part, torch.nn.Module):
            weights |= {f"{name}.{inner}": tensor for inner, tensor in part.state_dict().items()}
        else:
            weights[name] = part.detach()
    theirs = CLIPModel(config).eval()
    theirs.load_state_dict(weights, strict=False)
    theirs.save_pretrained(folder)
    CLIPProcessor(CLIPImageProcessor(), _tokenizer(folder)).save_pretrained(folder)
    return folder


def _layer(name: str, block: Any) -> dict[str, torch.nn.Module | torch.Tensor]:  # noqa: ANN401
    renamed: dict[str, torch.nn.Module | torch.Tensor] = {
        f"{name}.self_attn.out_proj": block.attn.out_proj,
        f"{name}.layer_norm1": block.ln_1,
        f"{name}.layer_norm2": block.ln_2,
        f"{name}.mlp.fc1": block.mlp.c_fc,
        f"{name}.mlp.fc2": block.mlp.c_proj,
    }
    for part in ("weight", "bias"):
        three = getattr(block.attn, f"in_proj_{part}").chunk(3)
        names = (f"{name}.self_attn.{projection}_proj.{part}" for projection in "qkv")
        renamed |= dict(zip(names, three, strict=True))
    return renamed


def _tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's tokenizer, its vocabulary taken from open_clip."""
    own = open_clip.SimpleTokenizer()
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    # The two libraries spell the marks of beginning and end differently.
    marks = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary.write_text(json.dumps({marks.get(token, token): number for token, number in own.encoder.items()}))
    ranked = sorted(own.bpe_ranks, key=own.bpe_ranks.__getitem__)
    merges.write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in ranked) + "\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def peers(model: open_clip.CLIP, folder: Path) -> dict[str, System]:
    """Give the same weights through the libraries, in float32, each as its users run it."""
    return {
        "open_clip": _plain_open_clip(model),
        "transformers": _transformers(folder),
        "sentence-transformers": _sentence_transformers(folder),
    }


def _plain_open_clip(model: open_clip.CLIP) -> System:
    settings = open_clip.get_model_preprocess_cfg(model)
    preprocess = open_clip.image_transform(settings["size"], is_train=False, mean=settings["mean"], std=settings["std"])
    tokenize = open_clip.get_tokenizer(ARCHITECTURE)
    return {
        "images": _batched(lambda batch: model.encode_image(torch.stack([preprocess(image) for image in batch]))),
        "texts": _batched(lambda batch: model.encode_text(tokenize(batch))),
    }


def _transformers(folder: Path) -> System:
    model = CLIPModel.from_pretrained(folder).eval()
    processor, tokenizer = CLIPImageProcessor.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder)

    def texts(batch: Sequence[Any]) -> torch.Tensor:
        tokens = tokenizer(list(batch), padding=True, truncation=True, max_length=77, return_tensors="pt")
        features: torch.Tensor = model.get_text_features(**tokens).pooler_output
        return features

    def by_length(contents: Sequence[str]) -> torch.Tensor:
        order = sorted(range(len(contents)), key=lambda place: len(contents[place]))
        vectors = _batched(texts)([contents[place] for place in order])
        return vectors[np.argsort(order)]

    return {
        "images": _batched(
            lambda batch: model.get_image_features(**processor(batch, return_tensors="pt")).pooler_output
        ),
        "texts": by_length,
    }


def _sentence_transformers(folder: Path) -> System:
    model = SentenceTransformer(modules=[ClipModule(str(folder))], device="cpu")

    def encode(contents: Sequence[Any]) -> Any:  # noqa: ANN401
        return model.encode(list(contents), batch_size=BATCH, show_progress_bar=False)

    return {"images": encode, "texts": encode}


def _batched(encode: Callable[[Sequence[Any]], torch.Tensor]) -> Callable[[Sequence[Any]], torch.Tensor]:
    @torch.inference_mode()
    def all_of(contents: Sequence[Any]) -> torch.Tensor:
        starts = range(0, len(contents), BATCH)
        return torch.cat([encode(contents[start : start + BATCH]) for start in starts])

    return all_of
