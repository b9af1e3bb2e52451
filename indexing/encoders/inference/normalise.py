"""From prepared pictures to what a network takes."""

from collections.abc import Callable, Sequence

import torch

from indexing.media.image_form import Pixels


def normaliser(mean: Sequence[float], std: Sequence[float]) -> Callable[[Pixels], torch.Tensor]:
    """Give a function from (N, H, W, 3) uint8 to (N, 3, H, W) float32, as torchvision's ToTensor and Normalize do it.

    >>> import numpy as np
    >>> normaliser([0.5] * 3, [0.5] * 3)(np.full((1, 1, 1, 3), 255, np.uint8)).flatten().tolist()
    [1.0, 1.0, 1.0]
    """
    centre, spread = torch.tensor(mean).view(1, 3, 1, 1), torch.tensor(std).view(1, 3, 1, 1)

    def normalise(pixels: Pixels) -> torch.Tensor:
        channels_first = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
        return channels_first.float().div_(255).sub_(centre).div_(spread)

    return normalise
