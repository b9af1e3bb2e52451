"""Small real checkpoints, random but complete, saved as open_clip and transformers save theirs."""

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AlignConfig,
    AlignModel,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    ChineseCLIPConfig,
    ChineseCLIPImageProcessor,
    ChineseCLIPModel,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    EfficientNetImageProcessor,
    PreTrainedTokenizerFast,
    Siglip2Config,
    Siglip2ImageProcessor,
    Siglip2Model,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

WORDS = ["a red mug", "two children fly a kite over the beach", "http www example com x png", "size 42 eur 19 99 ☂ 猫"]
SIDE, CONTEXT = 32, 16
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
# Wide, so that the first token's last state, which stands for a text, depends on the others.
BERT = {"vocab_size": 400, "max_position_embeddings": CONTEXT, "pad_token_id": 2, "initializer_range": 0.2}


def tiny_open_clip(folder: Path, seed: int = 0) -> Path:
    """An open_clip folder: config with preprocessing, weights as safetensors."""
    model_cfg = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": CONTEXT, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    preprocess = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic"}
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess}))
    torch.manual_seed(seed)
    model = open_clip.CLIP(**model_cfg)
    save_file(
        {name: part.contiguous() for name, part in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-pair tokenizer trained on a few words."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))  # noqa: S106 - a token, no password
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>", "<start>", "<end>"])
    tokenizer.train_from_iterator(WORDS, trainer)
    start, end = (tokenizer.token_to_id(token) for token in ("<start>", "<end>"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", start), ("<end>", end)]
    )
    names = {"unk_token": "<unk>", "bos_token": "<start>", "eos_token": "<end>", "pad_token": "<end>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def tiny_pair_tokenizer() -> PreTrainedTokenizerFast:
    """The same, which also takes two texts."""
    tokenizer = tiny_tokenizer()
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>",
        pair="<start> $A <end> $B:1 <end>:1",
        special_tokens=[("<start>", start), ("<end>", end)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        model_max_length=CONTEXT,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{name: str(token) for name, token in tokenizer.special_tokens_map.items()},
    )


def tiny_clip(folder: Path, seed: int = 0) -> Path:
    """A transformers CLIP folder."""
    tokenizer = tiny_tokenizer()
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 2}
    config = CLIPConfig(
        text_config={**SMALL, **ids, "vocab_size": 400, "max_position_embeddings": CONTEXT},
        vision_config={**SMALL, "image_size": SIDE, "patch_size": 8},
        projection_dim=24,
    )
    size = {"shortest_edge": SIDE}
    return _saved(
        folder, CLIPModel, config, CLIPImageProcessor(size=size, crop_size={"height": SIDE, "width": SIDE}), seed
    )


def tiny_siglip(folder: Path, seed: int = 0) -> Path:
    """A transformers SigLIP folder."""
    config = SiglipConfig(
        text_config={**SMALL, "vocab_size": 400, "max_position_embeddings": CONTEXT, "pad_token_id": 2},
        vision_config={**SMALL, "image_size": SIDE, "patch_size": 8},
    )
    return _saved(folder, SiglipModel, config, SiglipImageProcessor(size={"height": SIDE, "width": SIDE}), seed)


def tiny_siglip2(folder: Path, seed: int = 0) -> Path:
    """A transformers SigLIP2 folder of the kind that keeps the aspect ratio and takes patches."""
    config = Siglip2Config(
        text_config={**SMALL, "vocab_size": 400, "max_position_embeddings": CONTEXT, "pad_token_id": 2},
        vision_config={**SMALL, "patch_size": 8, "num_patches": 16},
    )
    return _saved(folder, Siglip2Model, config, Siglip2ImageProcessor(patch_size=8, max_num_patches=16), seed)


def tiny_chinese_clip(folder: Path, seed: int = 0) -> Path:
    """A transformers Chinese CLIP folder."""
    config = ChineseCLIPConfig(
        text_config={**SMALL, **BERT},
        vision_config={**SMALL, "image_size": SIDE, "patch_size": 8},
        projection_dim=24,
    )
    processor = ChineseCLIPImageProcessor(size={"height": SIDE, "width": SIDE}, do_center_crop=False)
    return _saved(folder, ChineseCLIPModel, config, processor, seed)


def tiny_align(folder: Path, seed: int = 0) -> Path:
    """A transformers ALIGN folder: a BERT and an EfficientNet of two blocks."""
    blocks = {"in_channels": [32, 8], "out_channels": [8, 32], "kernel_sizes": [3, 3], "strides": [1, 2]}
    sizes = {"expand_ratios": [1, 2], "num_block_repeats": [1, 1], "depthwise_padding": [], "hidden_dim": 32}
    config = AlignConfig(
        text_config={**SMALL, **BERT},
        vision_config={**blocks, **sizes, "image_size": SIDE, "depth_coefficient": 1.0, "width_coefficient": 1.0},
        projection_dim=32,
    )
    size = {"height": SIDE, "width": SIDE}
    return _saved(folder, AlignModel, config, EfficientNetImageProcessor(size=size, crop_size=size), seed)


def tiny_clap(folder: Path, seed: int = 0, *, fusion: bool = False) -> Path:
    """A transformers CLAP folder that hears one second at 8 kHz."""
    text = {**SMALL, "vocab_size": 400, "max_position_embeddings": CONTEXT + 3, "pad_token_id": 2}
    audio = {
        "spec_size": 64,
        "num_mel_bins": 16,
        "window_size": 4,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "patch_embeds_hidden_size": 16,
        "hidden_size": 32,
        "num_hidden_layers": 2,
    }
    fused = {"enable_fusion": True, "fusion_type": "aff_2d"} if fusion else {}
    config = ClapConfig(text_config=text, audio_config={**audio, **fused}, projection_dim=24)
    extractor = ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=8_000,
        hop_length=80,
        max_length_s=1,
        fft_window_size=256,
        frequency_max=4_000,
        truncation="fusion" if fusion else "rand_trunc",
    )
    return _saved(folder, ClapModel, config, extractor, seed)


def tiny_bert(folder: Path, seed: int = 0) -> Path:
    """A transformers BERT folder, with a tokenizer."""
    config = BertConfig(**SMALL, **BERT)
    torch.manual_seed(seed)
    BertModel(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def tiny_cross_encoder(folder: Path, seed: int = 0, labels: int = 1) -> Path:
    """A transformers BERT folder that gives a pair of texts a number."""
    torch.manual_seed(seed)
    BertForSequenceClassification(BertConfig(**SMALL, **BERT, num_labels=labels)).save_pretrained(folder)
    tiny_pair_tokenizer().save_pretrained(folder)
    return folder


def _saved(folder: Path, model: Any, config: Any, preprocessing: Any, seed: int) -> Path:  # noqa: ANN401
    """Make a model with random weights and save it with tokenizer and preprocessing."""
    torch.manual_seed(seed)
    for part in (model(config), tiny_tokenizer(), preprocessing):
        part.save_pretrained(folder)
    return folder
