"""One CLIP with random weights in the formats of three libraries, so that their speed can be compared."""

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

ARCHITECTURE = "ViT-B-32"


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
            layer = f"{prefix}.encoder.layers.{number}"
            for part in ("weight", "bias"):
                three = getattr(block.attn, f"in_proj_{part}").chunk(3)
                names = (f"{layer}.self_attn.{name}_proj.{part}" for name in "qkv")
                renamed |= dict(zip(names, three, strict=True))
            renamed |= {
                f"{layer}.self_attn.out_proj": block.attn.out_proj,
                f"{layer}.layer_norm1": block.ln_1,
                f"{layer}.layer_norm2": block.ln_2,
                f"{layer}.mlp.fc1": block.mlp.c_fc,
                f"{layer}.mlp.fc2": block.mlp.c_proj,
            }
    weights: dict[str, torch.Tensor] = {}
    for name, part in renamed.items():
        if isinstance(part, torch.nn.Module):
            weights |= {f"{name}.{inner}": tensor for inner, tensor in part.state_dict().items()}
        else:
            weights[name] = part.detach()
    theirs = CLIPModel(config).eval()
    theirs.load_state_dict(weights, strict=False)
    theirs.save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    _tokenizer(folder).save_pretrained(folder)
    return folder


def _tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's tokenizer, its vocabulary taken from open_clip."""
    own = open_clip.SimpleTokenizer()
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps(own.encoder))
    ranked = sorted(own.bpe_ranks, key=own.bpe_ranks.__getitem__)
    merges.write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in ranked) + "\n")
    return CLIPTokenizer.from_pretrained(folder)
