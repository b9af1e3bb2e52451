"""Linear layers whose weights are laid out for few rows, as a query has them.

The matrix product that torch takes for float32 needs twice the time for the few tokens of one query on some processors,
as it brings the weights into its own order each time. oneDNN, which torch brings along, lets them be brought into its
order once. Sums are the same but for rounding.
"""

import torch
import torch.nn.functional as F
from torch import nn

ROWS = 16  # for which the order is chosen; others take it too: of 1, 8, 16 and 64 the best for 6 as for 128 tokens


class PackedLinear(nn.Module):
    """A linear layer with weights in the order of oneDNN; see `packed`.

    Args:
        layer: The layer, with a bias, whose weights are no longer needed afterwards.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight, self._bias = layer.weight.detach(), layer.bias.detach()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., inputs) to (..., outputs), both float32."""
        mapped: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return mapped


@torch.inference_mode()
def packed(layer: nn.Linear) -> nn.Module:
    """Give a layer with packed weights, or the layer itself where this torch cannot pack them.

    The operations are those by which torch compiles models, and no part of its interface. They are used only where they
    are there and agree with the layer.
    """
    if not torch.backends.mkldnn.is_available():
        return layer
    rows = torch.linspace(-1, 1, 2 * layer.in_features).view(2, -1)
    try:
        candidate = PackedLinear(layer)
        agrees = torch.allclose(candidate(rows), F.linear(rows, layer.weight, layer.bias), rtol=1e-4, atol=1e-4)
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):  # of another torch
        return layer
    return candidate if agrees else layer
