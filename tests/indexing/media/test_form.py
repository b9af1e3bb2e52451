"""Pictures take the form that the libraries' own preprocessing gives them, pixel by pixel."""

from typing import Literal

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize  # type: ignore[import-untyped]

from indexing.media.image_form import ImageForm

SIZES = [(224, 224), (301, 200), (200, 301), (37, 640), (640, 37), (33, 33), (1, 90)]


def noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3)).astype(np.uint8))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_torchvisions_pixels(size: tuple[int, int], resize: Literal["shortest", "squash"], interpolation: str) -> None:
    picture, how = noise(*size), InterpolationMode(interpolation)
    theirs = (
        Resize((64, 64), how) if resize == "squash" else Compose([Resize(64, how), CenterCrop(64)])
    )(picture)  # fmt: skip
    np.testing.assert_array_equal(ImageForm(64, resize, interpolation).apply(picture), np.asarray(theirs))


def test_the_middle_of_a_line() -> None:
    """Whole, it would grow to 64 x 1,280,000 pixels before it is cut."""
    line = np.zeros((20_000, 1, 3), np.uint8)
    line[9_990:10_010] = [9, 8, 7]
    assert (ImageForm(64, "shortest").apply(Image.fromarray(line)) == [9, 8, 7]).all()


def test_the_whole_picture_on_white() -> None:
    pixels = ImageForm(40, "longest").apply(Image.new("RGB", (80, 20), (9, 8, 7)))
    assert pixels.shape == (40, 40, 3)
    assert (pixels[15:25] == [9, 8, 7]).all()
    assert (pixels[:15] == 255).all()
    assert (pixels[25:] == 255).all()
