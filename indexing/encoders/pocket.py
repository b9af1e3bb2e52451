"""The pocket encoder: a small dual encoder that ships with the package and needs no hub.

Two frozen pretrained towers, and a bridge between them that was learned on public-domain drawings and emoji. A vector
has three blocks of 384 and one number. In the first block a picture is what ImageNet's classes say it is, in words; in
the second a linear map of its features; in the third what it is among concepts of drawings, in words. The number takes
from pictures that resemble every text: they would be found by all queries. The model card in `pocket_weights/README.md`
has data, licences, numbers and limits.

`TextTower` is the BERT of all-MiniLM-L6-v2 (Wang et al., arXiv:2002.10957; Reimers and Gurevych, arXiv:1908.10084),
`ImageTower` is EfficientNet-Lite0 (Tan and Le, arXiv:1905.11946) with its batch norms folded into the convolutions.
Both are tested to equal the transformers and timm implementations that the weights come from.
"""

import ctypes
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn

from indexing.arrays import Vectors
from indexing.encoders.base import EncoderInfo, hash_parts
from indexing.encoders.inference.batching import (
    by_length,
    checked_images,
    checked_texts,
    in_batches,
    pixels_in_batches,
    well_formed,
)
from indexing.encoders.inference.compute import Compute
from indexing.encoders.inference.packed_linear import packed
from indexing.media.files import Modality
from indexing.media.image_form import ImageForm, Pixels
from indexing.media.images import to_rgb

# Of glibc's mallopt: beyond the first size a block is a mapping of its own, returned at once when freed; up to the
# second, free memory at the end of the heap is kept.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
MAX_KEPT_BLOCK, MAX_KEPT_BYTES = 32 << 20, 256 << 20


def keep_freed_memory() -> bool:
    """Let this process keep up to 256 MB that it has freed; say whether its C library can be told so.

    A convolution's output of 20 MB is otherwise taken from the system and returned at each layer, and every page of it
    is cleared anew: measured here, two thirds of the time of a small network.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, MAX_KEPT_BLOCK) and mallopt(_TRIM_THRESHOLD, MAX_KEPT_BYTES))


TEXT_DIM, IMAGE_DIM, CLASSES = 384, 1280, 1000
HEADS, LAYERS, HIDDEN, POSITIONS, VOCABULARY = 12, 6, 1536, 512, 30522
EPSILON = 1e-12

# Blocks after which features are tapped: the ends of the last three stages, with 112, 192 and 320 channels. What a
# drawing shows is decided earlier in the network than what a photograph shows.
TAPS = (10, 14, 15)
FEATURES = IMAGE_DIM + 2 * (112 + 192 + 320)

# (channels, blocks, stride of the first, kernel, expansion) of each stage of EfficientNet-Lite0.
STAGES = (
    (16, 1, 1, 3, 1),
    (24, 2, 2, 3, 6),
    (40, 2, 2, 5, 6),
    (80, 3, 2, 3, 6),
    (112, 3, 1, 5, 6),
    (192, 4, 2, 5, 6),
    (320, 1, 1, 3, 6),
)


class _Layer(nn.Module):
    """One transformer layer, normalised after each addition, as in BERT."""

    def __init__(self) -> None:
        super().__init__()
        self.query_key_value = nn.Linear(TEXT_DIM, 3 * TEXT_DIM)
        self.attended = nn.Linear(TEXT_DIM, TEXT_DIM)
        self.attended_norm = nn.LayerNorm(TEXT_DIM, EPSILON)
        self.up = nn.Linear(TEXT_DIM, HIDDEN)
        self.down = nn.Linear(HIDDEN, TEXT_DIM)
        self.down_norm = nn.LayerNorm(TEXT_DIM, EPSILON)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        batch, length, _ = x.shape
        query, key, value = self.query_key_value(x).view(batch, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = self.attended_norm(x + self.attended(attended.transpose(1, 2).reshape(batch, length, -1)))
        normed: torch.Tensor = self.down_norm(x + self.down(F.gelu(self.up(x))))
        return normed


class TextTower(nn.Module):
    """Token ids to sentence vectors: the mean of the last hidden states over the real tokens, unit length."""

    def __init__(self) -> None:
        super().__init__()
        # Not `nn.Embedding(…)`: to draw random weights on the meta device imports half of torch's compiler.
        self.words = nn.Embedding.from_pretrained(torch.empty(VOCABULARY, TEXT_DIM))
        self.positions = nn.Embedding.from_pretrained(torch.empty(POSITIONS, TEXT_DIM))
        self.norm = nn.LayerNorm(TEXT_DIM, EPSILON)
        self.layers = nn.ModuleList(_Layer() for _ in range(LAYERS))

    def forward(self, ids: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Map (B, L) int64 ids and (B, L) bool flags of real tokens to (B, 384)."""
        x = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]])
        mask = None if bool(real.all()) else real[:, None, None, :]
        for layer in self.layers:
            x = layer(x, mask)
        kept = real[:, :, None].to(x.dtype)
        return F.normalize((x * kept).sum(dim=1).float() / kept.sum(dim=1).float(), dim=1)

    def pack(self) -> None:
        """Lay the weights out for the few tokens of a query; the tower is no longer trained."""
        for layer in self.layers:
            for name in ("query_key_value", "attended", "up", "down"):
                setattr(layer, name, packed(getattr(layer, name)))


class _Convolution(nn.Module):
    """A convolution with TensorFlow's padding: what does not divide evenly goes to the right and the bottom."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups)
        total = kernel - stride  # for sides that the stride divides, as all are here
        self.padding = (total // 2, total - total // 2) * 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.padding[:2]
        if left == right:
            weight, bias, plain = self.convolution.weight, self.convolution.bias, self.convolution
            return F.conv2d(x, weight, bias, plain.stride, (left, left), groups=plain.groups)
        padded: torch.Tensor = self.convolution(F.pad(x, self.padding))
        return padded


class _Block(nn.Module):
    """Widen, filter each channel, narrow; add the input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.widen = _Convolution(inputs, wide, 1) if expansion > 1 else None
        self.filter = _Convolution(wide, wide, kernel, stride=stride, groups=wide)
        self.narrow = _Convolution(wide, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = F.relu6(self.widen(x), inplace=True) if self.widen is not None else x
        narrow: torch.Tensor = self.narrow(F.relu6(self.filter(wide), inplace=True))
        return x + narrow if self.residual else narrow


class ImageTower(nn.Module):
    """Pictures to pooled features of several depths, and class logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(3, 32, 3, stride=2)
        blocks, inputs = [], 32
        for outputs, count, stride, kernel, expansion in STAGES:
            for number in range(count):
                blocks.append(_Block(inputs, outputs, kernel, stride if number == 0 else 1, expansion))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = _Convolution(inputs, IMAGE_DIM, 1)
        self.classifier = nn.Linear(IMAGE_DIM, CLASSES)

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map (B, 3, 224, 224) pictures in -1…1 to features (B, 2528) and logits (B, 1000).

        The features are the mean of the last layer, then mean and maximum of each tapped block.
        """
        x = F.relu6(self.stem(pictures), inplace=True)
        tapped = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in TAPS:
                tapped += [x.mean(dim=(2, 3)), x.amax(dim=(2, 3))]
        last = F.relu6(self.head(x), inplace=True).mean(dim=(2, 3))
        return torch.cat([last, *tapped], dim=1), self.classifier(last)


WEIGHTS = Path(str(files("indexing"))) / "encoders" / "pocket_weights"
SIDE = 224
FORM = ImageForm(SIDE, "longest", reducing_gap=2.0)
TEXT_BATCH, IMAGE_BATCH = 128, 4  # no activation of so few pictures is over `MAX_KEPT_BLOCK`
MAX_TOKENS = 128  # tokens; the tower was trained on no longer ones
DIM = 3 * TEXT_DIM + 1
TEXT_LAST_COMPONENT = 0.3  # last component of every text; the pictures' last component is scaled accordingly


class PocketEncoder:
    """Texts and pictures in one space of 1,153 dimensions.

    Args:
        folder: Where weights, tokenizer and configuration are.

    >>> encoder = PocketEncoder()
    >>> mug, boat = encoder.encode_texts(["a mug", "a sailing boat"])
    >>> cup = encoder.encode_texts(["a cup"])[0]
    >>> bool(cup @ mug > cup @ boat)
    True
    """

    image_form = FORM

    def __init__(self, folder: Path = WEIGHTS) -> None:
        keep_freed_memory()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()
        self._settings = json.loads((folder / "config.json").read_bytes())
        self._bridge = dequantise(load_file(folder / "bridge.safetensors"))
        self._usual = self._texts_content(self._bridge["usual_words"])
        with torch.device("meta"):
            self._text, self._image = TextTower(), ImageTower()
        self._text.load_state_dict(dequantise(load_file(folder / "text.safetensors")), assign=True)
        # Float32 throughout: in bfloat16 some pictures move by more than the golden inputs allow, so that a bundle
        # would be refused on the next machine. With norms folded and small batches float32 is fast enough.
        image = {name: part.float() for name, part in load_file(folder / "image.safetensors").items()}
        self._image.load_state_dict(image, assign=True)
        for tower in (self._text, self._image):
            tower.eval().requires_grad_(False)
        self._text.pack()
        parts = [path for path in folder.iterdir() if path.suffix in (".safetensors", ".json")]
        self.info = EncoderInfo(
            name="pocket",
            dim=DIM,
            modalities=(Modality.TEXT, Modality.IMAGE),
            fingerprint=hash_parts(parts, side=SIDE, longest_text=MAX_TOKENS),
        )

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed N texts, cut to 128 tokens: (N, 1153) float32, unit length."""
        ids = [
            encoding.ids
            for encoding in self._tokenizer.encode_batch([well_formed(text) for text in checked_texts(texts)])
        ]
        return by_length(
            [len(token_ids) for token_ids in ids],
            lambda positions: self._texts([ids[position] for position in positions]),
            DIM,
            TEXT_BATCH,
        )

    def unknown_share(self, texts: Sequence[str]) -> float:
        """Return the share of the texts' tokens that the vocabulary does not have."""
        unknown = self._tokenizer.token_to_id("[UNK]")
        encodings = self._tokenizer.encode_batch([well_formed(text) for text in texts], add_special_tokens=False)
        ids = np.concatenate([np.empty(0, np.int64), *(np.array(encoding.ids, np.int64) for encoding in encodings)])
        return float((ids == unknown).mean()) if len(ids) else 0.0

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Embed N pictures of any size and mode: (N, 1153) float32, unit length."""
        return in_batches(
            checked_images(images),
            lambda batch: self._images(np.stack([square(image) for image in batch])),
            DIM,
            IMAGE_BATCH,
        )

    def encode_pixels(self, pixels: Pixels) -> Vectors:
        """Embed N pictures as `square` gives them, (N, 224, 224, 3) uint8: (N, 1153) float32, unit length."""
        return pixels_in_batches(pixels, self._images, DIM, IMAGE_BATCH)

    @torch.inference_mode()
    def _texts(self, ids: Sequence[Sequence[int]]) -> Vectors:
        content = self._texts_content(self._text(*padded(ids)))
        vectors: Vectors = F.pad(content, (0, 1), value=TEXT_LAST_COMPONENT).numpy()
        return vectors

    @torch.inference_mode()
    def _images(self, pixels: Pixels) -> Vectors:
        scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
        content = self._images_content(*self._image(scaled.contiguous()))
        temperature = self._settings["hub_temperature"]
        hub = temperature * torch.logsumexp(content @ self._usual.T / temperature, dim=1, keepdim=True)
        hub_penalty = self._settings["hub_share"] * (self._bridge["hub_mean"] - hub)
        vectors: Vectors = torch.cat([content, hub_penalty / TEXT_LAST_COMPONENT], dim=1).numpy()
        return vectors

    def _texts_content(self, words: torch.Tensor) -> torch.Tensor:
        """Map (B, 384) text vectors to (B, 1152), unit length."""
        shifted = words + words @ self._bridge["text_residual"] + self._bridge["text_bias"]
        return side_by_side(self._settings["first_block_weight"], words, shifted, words)

    def _images_content(self, features: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Map (B, 2528) features and (B, 1000) logits to (B, 1152), unit length."""
        bridge, clip = self._bridge, self._settings["feature_clip"]
        classes = torch.softmax(logits / self._settings["temperature"], dim=1) @ bridge["class_words"]
        scaled = ((features - bridge["feature_mean"]) / bridge["feature_scale"]).clamp(-clip, clip)
        concepts = torch.softmax(scaled @ bridge["concept_map"].T + bridge["concept_bias"], dim=1)
        blocks = classes, scaled @ bridge["projection"], concepts @ bridge["concept_words"]
        return side_by_side(self._settings["first_block_weight"], *blocks)


def load(_: str, compute: Compute) -> PocketEncoder:
    """Load the pocket encoder, which has one precision.

    Raises:
        EncoderError: When a GPU was asked for.
    """
    compute.refuse_compile("pocket")
    compute.refuse_gpu("pocket", "is made for the CPU")
    return PocketEncoder()


def padded(ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids as (B, L) int64, filled up with zeros, and (B, L) bool saying which tokens are real."""
    length = max(map(len, ids))
    filled = torch.tensor([[*token_ids, *[0] * (length - len(token_ids))] for token_ids in ids])
    return filled, torch.tensor([[position < len(token_ids) for position in range(length)] for token_ids in ids])


def side_by_side(first_weight: float, first: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
    """Put blocks of (B, 384), each of unit length and the first one weighed, into one unit vector a line."""
    blocks = [first_weight * F.normalize(first, dim=1), *(F.normalize(block, dim=1) for block in others)]
    return F.normalize(torch.cat(blocks, dim=1), dim=1)


def square(image: Image.Image) -> Pixels:
    """Fit a whole picture into 224 x 224 on white: (224, 224, 3) uint8."""
    return FORM.apply(to_rgb(image))


def dequantise(stored: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return float32 weights of int8 matrices (R, C) and scales (R, G), one for each C / G weights (``NAME.scale``)."""
    weights = {name: part.float() for name, part in stored.items() if not name.endswith(".scale")}
    for name, part in weights.items():
        if stored[name].dtype == torch.int8:
            scale = stored[f"{name}.scale"].float()
            weights[name] = (part.view(*scale.shape, -1) * scale[:, :, None]).view(part.shape)
    return weights
