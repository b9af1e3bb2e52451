"""The classifier that this project grew from: text and picture, trained from scratch with a classification loss.

A linear layer over a bag of words (here hashed), one convolution over the picture, both side by side into one hidden
layer, and a softmax over the classes. A modality that is not given is left out.
"""

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from indexing.arrays import Rows
from indexing.media.images import to_rgb

BUCKETS = 1 << 15
WIDTH, FILTERS, GRID = 64, 16, 4
SIZE = (30, 40)  # of a picture, as in a catalogue's thumbnails at half their size
MOST_EPOCHS, PATIENCE = 8, 2
BATCH, RATE = 64, 2e-3
WORD = re.compile(r"[^\W_]+")
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Inputs:
    """What N items show.

    Attributes:
        texts: N texts, or None.
        pixels: (N, height, width, 3) uint8, or None.
    """

    texts: Sequence[str] | None
    pixels: Pixels | None

    def take(self, rows: Rows) -> "Inputs":
        """Keep some of the items."""
        texts = None if self.texts is None else [self.texts[row] for row in rows.tolist()]
        return Inputs(texts, None if self.pixels is None else self.pixels[rows])


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network's answers.

    Attributes:
        classes: (B,) int64, of the items that were asked.
        epochs: How many were best on the valid items.
        seconds: Of training, choice included.
    """

    classes: Rows
    epochs: int
    seconds: float


class SeedNetwork(nn.Module):
    """Words and picture to the logits of C classes."""

    def __init__(self, classes: int, *, text: bool, image: bool) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(BUCKETS, WIDTH, mode="mean", sparse=True) if text else None
        self.look = nn.Conv2d(3, FILTERS, 5, stride=2, padding=2) if image else None
        self.fusion = nn.Linear(WIDTH * text + FILTERS * GRID**2 * image, WIDTH)
        self.classes = nn.Linear(WIDTH, classes)

    def forward(self, words: tuple[Tensor, Tensor] | None, pixels: Tensor | None) -> Tensor:
        """Give (B, C) logits for hashed words with their offsets, and (B, 3, height, width) pixels around 0."""
        parts = []
        if self.words is not None and words is not None:
            parts.append(self.words(*words))
        if self.look is not None and pixels is not None:
            parts.append(F.adaptive_avg_pool2d(F.relu(self.look(pixels)), GRID).flatten(1))
        logits: Tensor = self.classes(F.relu(self.fusion(torch.cat(parts, dim=1))))
        return logits


def small(images: Sequence[Image.Image]) -> Pixels:
    """Give pictures as (N, height, width, 3) uint8 of the network's size."""
    return np.stack([np.asarray(to_rgb(image).resize(SIZE)) for image in images])


def train_and_ask(train: Inputs, labels: Rows, valid: Rows, asked: Inputs, *, classes: int, seed: int) -> Trained:
    """Train up to the epoch that is best on the valid items, then anew on all items for as many epochs, and ask.

    Args:
        train: N items.
        labels: (N,) int64.
        valid: Rows held out for the choice.
        asked: B items.
        classes: C.
        seed: Of weights and order.
    """
    started = perf_counter()
    fitted = np.setdiff1d(np.arange(len(labels)), valid)
    held_out, truth = train.take(valid), labels[valid]
    best, epochs = -1.0, 0
    for epoch, network in enumerate(_epochs(train, labels, fitted, classes, seed), start=1):
        accuracy = float((_answers(network, held_out) == truth).mean())
        if accuracy > best:
            best, epochs = accuracy, epoch
        if epoch == MOST_EPOCHS or epoch - epochs >= PATIENCE:
            break
    *_, network = islice(_epochs(train, labels, np.arange(len(labels)), classes, seed), epochs)
    seconds = perf_counter() - started
    return Trained(_answers(network, asked), epochs, round(seconds, 2))


def _epochs(inputs: Inputs, labels: Rows, rows: Rows, classes: int, seed: int) -> Iterator[SeedNetwork]:
    """Give the network after each epoch, without end."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = SeedNetwork(classes, text=inputs.texts is not None, image=inputs.pixels is not None)
    rest = [weights for name, weights in network.named_parameters() if not name.startswith("words")]
    optimisers: list[torch.optim.Optimizer] = [torch.optim.Adam(rest, lr=RATE)]
    if network.words is not None:  # a step moves only the words that its batch has, or it would take most of the time
        optimisers.append(torch.optim.SparseAdam(list(network.words.parameters()), lr=RATE))
    while True:
        network.train()
        shuffled = rng.permutation(rows)
        for start in range(0, len(shuffled), BATCH):
            batch = shuffled[start : start + BATCH]
            loss = F.cross_entropy(network(*_tensors(inputs.take(batch))), torch.from_numpy(labels[batch]))
            network.zero_grad()
            loss.backward()
            for optimiser in optimisers:
                optimiser.step()
        yield network


@torch.inference_mode()
def _answers(network: SeedNetwork, inputs: Inputs) -> Rows:
    network.eval()
    count = len(inputs.texts if inputs.texts is not None else inputs.pixels if inputs.pixels is not None else ())
    found = [
        network(*_tensors(inputs.take(np.arange(start, min(start + 512, count))))).argmax(dim=1).numpy()
        for start in range(0, count, 512)
    ]
    return np.concatenate(found)


def _tensors(inputs: Inputs) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None]:
    words, pixels = None, None
    if inputs.texts is not None:
        bags = [_hashed(text) for text in inputs.texts]
        offsets = np.cumsum([0, *(len(bag) for bag in bags[:-1])])
        words = torch.tensor([word for bag in bags for word in bag]), torch.from_numpy(offsets)
    if inputs.pixels is not None:
        pixels = torch.from_numpy(inputs.pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    return words, pixels


def _hashed(text: str) -> list[int]:
    """Give the buckets of a text's words; one without words has the first bucket."""
    return [zlib.crc32(word.encode()) % BUCKETS for word in WORD.findall(text.lower())] or [0]
