"""The form in which a model wants its pictures, as data, so that a process without the model can prepare them."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) or (N, H, W, 3) uint8, RGB."""

FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}


MAX_SIDE_RATIO = 32  # of the longer side to the shorter, in what is resized


@dataclass(frozen=True)
class ImageForm:
    """How a picture becomes a square of pixels.

    Attributes:
        side: Of the square.
        resize: ``shortest``: the shorter side fits, and the middle is cut out; ``longest``: the whole picture fits,
            on white; ``squash``: both sides are fitted.
        interpolation: A name of `FILTERS`.
        reducing_gap: Shrink by whole numbers first, down to this many times the wanted size; None for an exact result.
    """

    side: int
    resize: Literal["shortest", "longest", "squash"]
    interpolation: str = "bicubic"
    reducing_gap: float | None = None

    def apply(self, image: Image.Image) -> Pixels:
        """Return an RGB picture as (side, side, 3) uint8.

        >>> ImageForm(2, "shortest").apply(Image.new("RGB", (40, 20), (1, 2, 3))).tolist()[0][0]
        [1, 2, 3]
        """
        side, how = self.side, FILTERS[self.interpolation]
        image = self.middle(image)
        small = image.resize(self._size(image), how, reducing_gap=self.reducing_gap)
        if self.resize == "longest":
            canvas = Image.new("RGB", (side, side), "white")
            canvas.paste(small, ((side - small.width) // 2, (side - small.height) // 2))
            small = canvas
        elif self.resize == "shortest":
            left, top = round((small.width - side) / 2), round((small.height - side) / 2)
            small = small.crop((left, top, left + side, top + side))
        return np.asarray(small, np.uint8)

    def middle(self, image: Image.Image) -> Image.Image:
        """Return the part of a picture that is embedded: a very long one is cut to its middle."""
        return _crop_far_ends(image) if self.resize == "shortest" else image

    def _size(self, image: Image.Image) -> tuple[int, int]:
        width, height = image.size
        if self.resize == "squash":
            return self.side, self.side
        if self.resize == "longest":
            scale = self.side / max(width, height)
            return max(1, round(width * scale)), max(1, round(height * scale))
        # The rounding of torchvision's Resize, so that the pixels are the same.
        if width <= height:
            return self.side, int(self.side * height / width)
        return int(self.side * width / height), self.side


def _crop_far_ends(image: Image.Image) -> Image.Image:
    """Cut the ends off a very long picture, of which only the middle is wanted: whole it would grow to gigabytes."""
    longest = MAX_SIDE_RATIO * min(image.size)
    if max(image.size) <= longest:
        return image
    width, height = (min(length, longest) for length in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
