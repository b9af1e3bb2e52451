"""What a picture looks like in 64 bits."""

import numpy as np
from PIL import Image

STEP = 4  # shades of grey between neighbours that can be seen


STEPS = 24  # of 64; with fewer, as in a small thing on white, most bits say nothing, and any two such pictures match


def difference_hash(image: Image.Image) -> int | None:
    """Give 64 bits that say where a grey picture gets brighter from left to right; None with too little detail.

    >>> difference_hash(Image.linear_gradient("L").rotate(90)) == 2**64 - 1
    True
    >>> difference_hash(Image.new("RGB", (50, 50), "red")) is None
    True
    """
    small = image.convert("L").resize((9, 8), Image.Resampling.BOX)
    grey = np.asarray(small, np.int16)
    steps = np.diff(grey, axis=1)
    if np.count_nonzero(np.abs(steps) >= STEP) < STEPS:
        return None
    return int(np.packbits(steps > 0).view(">u8")[0])
