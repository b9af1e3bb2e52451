"""A tower of a model as a function from batches of tensors to vectors; compiled by torch when that is asked for.

A function that is compiled is compiled anew for each shape of its inputs. So its batches have few shapes: one row or a
full batch, filled up with copies of the last row, and texts of a few lengths. What is filled up is cut off again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch

from indexing.arrays import Vectors
from indexing.encoders.base import Encoder, golden_vectors
from indexing.encoders.inference.batching import BATCH_SIZE
from indexing.encoders.inference.compute import WITHOUT_COMPILE
from indexing.encoders.inference.hub import one_line
from indexing.encoders.inference.torch_models import device_of, least_cosine
from indexing.errors import EncoderError

BACKEND = "inductor"  # which compiles
MIN_COSINE = 0.999
TEXT_LENGTHS = (16, 32)  # with the longest, and two sizes of batches, fewer shapes than torch compiles of a function: 8
GPU_BATCH = 256  # rows that keep a GPU busy; as many as a build hands over at a time


def fixed_length(length: int, longest: int) -> int:
    """Return to how many tokens a batch is filled up: 16, 32, or as many as the model takes.

    >>> [fixed_length(length, 77) for length in (3, 16, 17, 40)]
    [16, 16, 32, 77]
    """
    return next((fixed for fixed in TEXT_LENGTHS if length <= fixed < longest), longest)


@dataclass(frozen=True)
class Batches:
    """How many texts and pictures go through their towers at once.

    Attributes:
        texts: Texts in a batch.
        images: Pictures in a batch.
        fixed: Whether batches have few shapes.
    """

    texts: int = BATCH_SIZE
    images: int = BATCH_SIZE
    fixed: bool = False

    @classmethod
    def of(cls, model: torch.nn.Module, images: int, *, fixed: bool) -> "Batches":
        """Give the batches for the device of a model; on the CPU so many pictures."""
        if device_of(model).type == "cpu":
            return cls(images=images, fixed=fixed)
        return cls(GPU_BATCH, GPU_BATCH, fixed)

    def length(self, length: int, longest: int) -> int:
        """Give the length that texts of so many tokens, of at most ``longest``, are filled up to."""
        return fixed_length(length, longest) if self.fixed else length

    def compiled(self, texts: "Features", images: "Features") -> tuple["Features", "Features"]:
        """Give both towers compiled for such batches."""
        return CompiledFeatures(texts, self.texts), CompiledFeatures(images, self.images)


class Features:
    """What a tower makes of a batch.

    Args:
        function: Gives (B, D) features, from a model and tensors of B rows named as its parameters.
    """

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        self.function = function

    @torch.inference_mode()
    def __call__(self, model: torch.nn.Module, **inputs: torch.Tensor) -> Vectors:
        """Embed B rows: (B, D) float32."""
        device, dtype = device_of(model), next(model.parameters()).dtype
        moved = {name: part.to(device, dtype if part.is_floating_point() else None) for name, part in inputs.items()}
        vectors: Vectors = self.function(model, **moved).float().cpu().numpy()
        return vectors


class CompiledFeatures(Features):
    """The same, compiled for batches of one row and of ``rows`` rows."""

    def __init__(self, features: Features, rows: int) -> None:
        super().__init__(torch.compile(features.function, dynamic=False, backend=BACKEND))
        self._rows = rows

    def __call__(self, model: torch.nn.Module, **inputs: torch.Tensor) -> Vectors:
        """Embed B rows, at most ``rows``: (B, D) float32."""
        count = len(next(iter(inputs.values())))
        filled = count if count == 1 else self._rows
        return super().__call__(model, **{name: _filled(part, filled) for name, part in inputs.items()})[:count]


def _filled(part: torch.Tensor, rows: int) -> torch.Tensor:
    """Repeat the last row until there are so many."""
    return torch.cat([part, part[-1:].expand(rows - len(part), *part.shape[1:])]) if rows > len(part) else part


class TwoTowers:
    """An encoder with a tower for texts and one for pictures, which can be compiled."""

    _texts: Features
    _images: Features
    _batches: Batches

    def _compile(self, name: str) -> None:
        """Compile both towers, and check that they give the golden vectors that they gave before.

        Raises:
            EncoderError: When they cannot be compiled here, or give others.
        """
        exact = golden_vectors(cast(Encoder, self))
        try:
            self._texts, self._images = self._batches.compiled(self._texts, self._images)
            vectors = golden_vectors(cast(Encoder, self))
        except Exception as error:  # a compiler that is missing, and whatever else torch meets on its way
            raise EncoderError(
                f"torch.compile cannot compile {name} here: {one_line(error)}", **WITHOUT_COMPILE
            ) from error
        if not (cosine := least_cosine(vectors, exact)) >= MIN_COSINE:
            raise EncoderError(
                f"{name} gives other vectors when it is compiled (cosine {cosine:.4f})", **WITHOUT_COMPILE
            )
