"""Decoding one file: a picture to pixels, a sound to samples, a film to frames."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexing.decoding.form import ImageForm
from indexing.media import Kind
from indexing.pictures import PictureLimits, UnusablePicture, decode_picture, to_rgb

# A picture is decoded at no less than this many times the side that the model sees.
MARGIN = 2
# A model that prepares its pictures itself gets them no larger than this: it shrinks them anyway, and many wait.
LARGEST_SIDE = 1024
HUGE = 8_000_000  # pixels


@dataclass(frozen=True)
class Task:
    """What decoding is for, the same for all files of a run.

    Attributes:
        form: What pictures become; None leaves them as they are, but for the largest.
        limits: What a single picture may cost.
    """

    form: ImageForm | None = None
    limits: PictureLimits = field(default_factory=PictureLimits)

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return {"form": self.form and self.form.to_json(), "limits": asdict(self.limits)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Task":
        """Read what `to_json` gave."""
        form = ImageForm(**data["form"]) if data["form"] else None
        return cls(form, PictureLimits(**data["limits"]))


@dataclass(frozen=True, eq=False)
class Decoded:
    """What became of a file.

    Attributes:
        arrays: For a picture one (H, W, 3) uint8, for a film one for each frame, for a sound one (S,) float32.
        labels: For each array where in the file it is, for example ``"12.5 s"``; empty for a whole file.
    """

    arrays: list[NDArray[Any]]
    labels: list[str]


@dataclass(frozen=True)
class Unusable:
    """Why a file cannot be used."""

    reason: str


def decode(kind: Kind, data: bytes, task: Task) -> Decoded | Unusable:
    """Decode one file; whatever is wrong with it becomes a reason."""
    try:
        return _DECODERS[kind](data, task)
    except UnusablePicture as problem:
        return Unusable(str(problem))
    except MemoryError:
        return Unusable(f"{kind} needs more memory than decoding may take")


def _picture(data: bytes, task: Task) -> Decoded:
    wanted = task.form.side * MARGIN if task.form else LARGEST_SIDE
    image = decode_picture(data, task.limits, at_least=wanted)
    return Decoded([_shaped(_less(image, wanted), task)], [""])


def _less(image: Image.Image, wanted: int) -> Image.Image:
    """Shrink a huge picture by a whole number before anything else makes a copy of it."""
    factor = min(image.size) // wanted
    if factor > 1 and image.width * image.height > HUGE and image.mode in ("RGB", "RGBA", "L", "LA", "CMYK"):
        return image.reduce(factor)
    return image


def _shaped(image: Image.Image, task: Task) -> NDArray[np.uint8]:
    rgb = to_rgb(image)
    if task.form is not None:
        return task.form.apply(rgb)
    rgb.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.BICUBIC)
    return np.asarray(rgb, np.uint8)


_DECODERS = {Kind.IMAGE: _picture}
