"""Learn the bridge between the towers, and write what ships with the package.

    python -m scripts.pocket.train [--packages packages] [--work build/pocket] [--out indexing/encoders/pocket_weights]

Run `scripts.pocket.prepare` first. The same seeds give the same weights; six minutes on two
cores. The blocks learn together: alone, the second overrules on photographs what the first knows of them.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from indexing.encoders.pocket import CLASSES, FEATURES, TEXT_DIM, side_by_side
from scripts.pocket.captions import Pictured, drawings, emoji
from scripts.pocket.prepare import VIEWS, arguments
from scripts.pocket.towers import image_tower, quantise, text_tower, tokenizer_json


@dataclass(frozen=True)
class BridgeConfig:
    """How the bridge learns; every value was chosen on the valid titles and on product photographs.

    Attributes:
        temperature: Of the softmax over ImageNet's classes.
        first_block_weight: Weight of the block of class words in training: squared it equals the two others together,
            so that what photographs are is not drowned by what was learned on drawings.
        applied_weight: Its weight in use: the largest at which recall of the valid titles is still at its best.
        concepts: How many of the most frequent captions are concepts of drawings.
        hub_temperature, hub_share: How sharply nearness to all training titles is measured, and how much of it is
            taken from a picture's scores.
        feature_clip: Standardised features are cut off here, so that photographs do not fall out of range.
        plain_share: How often a picture is shown unaltered.
        epochs, batch_size, learning_rate, class_rate: Of AdamW with one cycle; class words learn more slowly.
        dropout: Of the features.
        softmax_temperature: Of the contrastive loss.
        caption_temperature: How far captions that nearly agree share a target.
        seeds: Of everything random, one for each of the bridges whose weights are averaged. All begin from the same
            words, so that the mean of their weights is a bridge too, and a better one than most of them.
    """

    temperature: float = 1.5
    first_block_weight: float = 1.4
    applied_weight: float = 1.3
    concepts: int = 1000
    hub_temperature: float = 0.025
    hub_share: float = 0.6
    feature_clip: float = 2.0
    plain_share: float = 0.8
    epochs: int = 25
    batch_size: int = 256
    learning_rate: float = 1e-3
    class_rate: float = 5e-4
    dropout: float = 0.2
    softmax_temperature: float = 0.035
    caption_temperature: float = 0.05
    seeds: tuple[int, ...] = (3, 4, 5, 6)


class Bridge(nn.Module):
    """What is learned between the towers; see `indexing.encoders.pocket` for how it is applied."""

    feature_mean: torch.Tensor
    feature_scale: torch.Tensor
    class_mean: torch.Tensor

    def __init__(self, classes: torch.Tensor, lesson: "Lesson", config: BridgeConfig) -> None:
        super().__init__()
        self.config = config
        features = lesson.features.flatten(0, 1)
        self.register_buffer("feature_mean", features.mean(dim=0))
        self.register_buffer("feature_scale", features.std(dim=0) + 0.02 * features.std())
        self.register_buffer("class_mean", classes.mean(dim=0))
        self.class_words = nn.Parameter(classes.clone())
        self.projection = nn.Parameter(torch.randn(FEATURES, TEXT_DIM) * 0.3 / FEATURES**0.5)
        self.text_residual = nn.Parameter(torch.zeros(TEXT_DIM, TEXT_DIM))
        self.text_bias = nn.Parameter(torch.zeros(TEXT_DIM))
        concepts = lesson.words[lesson.frequent(config.concepts)]
        self.concept_words = nn.Parameter(concepts - concepts.mean(dim=0))
        self.concept_map = nn.Parameter(torch.randn(len(concepts), FEATURES) * 0.1 / FEATURES**0.5)
        self.concept_bias = nn.Parameter(torch.zeros(len(concepts)))

    def pictures(self, features: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Map (B, 2528) features and (B, 1000) logits to (B, 1152), unit length."""
        config = self.config
        classes = torch.softmax(logits / config.temperature, dim=1) @ (self.class_words - self.class_mean)
        clip = config.feature_clip
        scaled = ((features - self.feature_mean) / self.feature_scale).clamp(-clip, clip)
        scaled = F.dropout(scaled, config.dropout, self.training)
        concepts = torch.softmax(scaled @ self.concept_map.T + self.concept_bias, dim=1)
        blocks = classes, scaled @ self.projection, concepts @ self.concept_words
        return side_by_side(config.first_block_weight, *blocks)

    def texts(self, words: torch.Tensor) -> torch.Tensor:
        """Map (B, 384) text vectors to (B, 1152), unit length."""
        moved = words + words @ self.text_residual + self.text_bias
        return side_by_side(self.config.first_block_weight, words, moved, words)

    @torch.no_grad()
    def shipped(self, lesson: "Lesson") -> dict[str, torch.Tensor]:
        """Give the tensors that the package loads, matrices in 8 bits."""
        usual = lesson.words[lesson.titles()]
        pictures = self.pictures(lesson.features[0], lesson.logits[0])
        temperature = self.config.hub_temperature
        hubs = temperature * torch.logsumexp(pictures @ self.texts(usual).T / temperature, dim=1)
        return quantise(
            {
                "class_words": self.class_words - self.class_mean,
                "feature_mean": self.feature_mean,
                "feature_scale": self.feature_scale,
                "projection": self.projection.detach(),
                "text_residual": self.text_residual.detach(),
                "text_bias": self.text_bias.detach(),
                "concept_map": self.concept_map.detach(),
                "concept_bias": self.concept_bias.detach(),
                "concept_words": self.concept_words.detach(),
                "usual_words": usual,
                "hub_mean": hubs.mean(),
            }
        )


@dataclass(frozen=True)
class Lesson:
    """All training pictures: V views of N pictures, and each one's captions as lines of ``words``."""

    features: torch.Tensor  # (V, N, 2528), the first view is the plain one
    logits: torch.Tensor  # (V, N, 1000)
    captions: Sequence[Sequence[int]]
    words: torch.Tensor  # (W, 384)

    def frequent(self, count: int) -> list[int]:
        """Give the captions that most pictures have, as lines of ``words``."""
        pictures = Counter(line for lines in self.captions for line in dict.fromkeys(lines))
        return [line for line, _ in pictures.most_common(count)]

    def titles(self) -> list[int]:
        """Give each picture's first caption once, as lines of ``words``."""
        return sorted({lines[0] for lines in self.captions})


def main() -> None:
    """Train and export."""
    parser = arguments(__doc__)
    parser.add_argument("--openclipart", type=Path, default=Path("/usr/share/openclipart"))
    parser.add_argument("--out", type=Path, default=Path("indexing/encoders/pocket_weights"))
    given = parser.parse_args()
    config = BridgeConfig()
    lesson = read_lesson(given.work, drawings(given.openclipart), emoji(given.packages))
    classes = load_file(given.work / "words.safetensors")["classes"]
    bridge = averaged([train(lesson, classes, config, seed) for seed in config.seeds])
    bridge.config = replace(config, first_block_weight=config.applied_weight)
    export(bridge, lesson, given.packages, given.out)


def read_lesson(work: Path, drawn: list[Pictured], faces: list[Pictured]) -> Lesson:
    """Gather the pictures of training titles; of very long series a tenth is kept.

    A picture that a held-out title has too, byte for byte, is left out: it would no longer be unseen.
    """
    stored = load_file(work / "features.safetensors")
    words = {word: line for line, word in enumerate((work / "words.txt").read_text("utf-8").split("\n"))}
    rng = np.random.default_rng(5)
    both = [*drawn, *faces]
    held_out = {one.digest for one in both if one.split != "train"}
    kept = [
        place
        for place, one in enumerate(both)
        if one.split == "train" and one.digest not in held_out and (one.series < 1000 or rng.random() < 0.1)
    ]

    def views(part: str) -> torch.Tensor:
        names = ["", *(f".{view}" for view in range(1, VIEWS + 1))]
        return torch.stack(
            [
                torch.cat([stored[f"{kind}.{part}{name}"] for kind in ("drawings", "emoji")])[kept].float()
                for name in names
            ]
        )

    captions = [[words[caption] for caption in both[place].captions] for place in kept]
    return Lesson(views("features"), views("logits"), captions, load_file(work / "words.safetensors")["vectors"])


@torch.no_grad()
def averaged(bridges: Sequence[Bridge]) -> Bridge:
    """Give the bridge whose weights are the mean of others' (Wortsman et al., arXiv:2203.05482)."""
    states = [bridge.state_dict() for bridge in bridges]
    mean = {name: torch.stack([state[name] for state in states]).mean(dim=0) for name in states[0]}
    bridges[0].load_state_dict(mean)
    return bridges[0]


def train(lesson: Lesson, classes: torch.Tensor, config: BridgeConfig, seed: int) -> Bridge:
    """Learn by a symmetric contrastive loss in which captions that nearly agree share their targets."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    views, count = lesson.features.shape[:2]
    bridge = Bridge(classes, lesson, config).train()
    others = [part for name, part in bridge.named_parameters() if name != "class_words"]
    groups = [
        {"params": [bridge.class_words], "lr": config.class_rate, "weight_decay": 0.0},
        {"params": others, "lr": config.learning_rate, "weight_decay": 0.01},
    ]
    optimizer = torch.optim.AdamW(groups)
    steps = config.epochs * -(-count // config.batch_size)
    rates = [config.class_rate, config.learning_rate]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps + 1)
    chances = [config.plain_share, *[(1 - config.plain_share) / (views - 1)] * (views - 1)]
    for _ in range(config.epochs):
        order = rng.permutation(count)
        for start in range(0, count, config.batch_size):
            batch = order[start : start + config.batch_size].tolist()
            view = rng.choice(views, len(batch), p=chances)
            said = [lesson.captions[place][int(rng.integers(len(lesson.captions[place])))] for place in batch]
            words = lesson.words[said]
            pictures = bridge.pictures(lesson.features[view, batch], lesson.logits[view, batch])
            loss = contrastive_loss(pictures, bridge.texts(words), words, config)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return bridge.eval()


def contrastive_loss(
    pictures: torch.Tensor, texts: torch.Tensor, words: torch.Tensor, config: BridgeConfig
) -> torch.Tensor:
    """Cross entropy in both directions against targets spread by how far the captions (B, 384) agree."""
    scores = pictures @ texts.T / config.softmax_temperature
    targets = torch.softmax(words @ words.T / config.caption_temperature, dim=1)
    rows = -(targets * F.log_softmax(scores, dim=1)).sum(dim=1).mean()
    columns = -(targets * F.log_softmax(scores, dim=0).T).sum(dim=1).mean()
    return (rows + columns) / 2


def export(bridge: Bridge, lesson: Lesson, packages: Path, out: Path) -> None:
    """Write towers, bridge, tokenizer and configuration."""
    out.mkdir(parents=True, exist_ok=True)
    save_file(quantise(dict(text_tower(packages).state_dict())), out / "text.safetensors")
    halves = {name: part.half().contiguous() for name, part in image_tower(packages).state_dict().items()}
    save_file(halves, out / "image.safetensors")
    save_file(bridge.shipped(lesson), out / "bridge.safetensors")
    (out / "tokenizer.json").write_bytes(tokenizer_json(packages))
    (out / "config.json").write_text(json.dumps(asdict(bridge.config), indent=2, sort_keys=True) + "\n")
    for path in out.iterdir():
        path.chmod(0o644)  # safetensors writes files for its owner alone
    print(f"{sum(path.stat().st_size for path in out.glob('*.*')) / 1e6:.1f} MB in {out}, {CLASSES} classes")


if __name__ == "__main__":
    main()
