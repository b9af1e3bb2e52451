"""The two frozen towers of the pocket encoder, as small torch modules that load in a moment.

`TextTower` is the BERT of all-MiniLM-L6-v2 (Wang et al., arXiv:2002.10957; Reimers and Gurevych, arXiv:1908.10084),
`ImageTower` is EfficientNet-Lite0 (Tan and Le, arXiv:1905.11946) with its batch norms folded into the convolutions.
Both are tested to equal the transformers and timm implementations that the weights come from.
"""

import torch
import torch.nn.functional as F
from torch import nn

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

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
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
        mask = real[:, None, None, :]
        for layer in self.layers:
            x = layer(x, mask)
        kept = real[:, :, None].to(x.dtype)
        return F.normalize((x * kept).sum(dim=1).float() / kept.sum(dim=1).float(), dim=1)


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
