"""Self-attention by one matrix product over contiguous memory, as open_clip's towers need it in low precision.

`torch.nn.MultiheadAttention` lays its input out so that in bfloat16 a product first copies the weights for every single
place of the text: on a CPU that is nine tenths of the time of a small batch.
"""

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from torch import nn


class SelfAttention(nn.Module):
    """Does what a `torch.nn.MultiheadAttention` does when query, key and value are the same.

    Args:
        original: Its weights are shared, not copied.
    """

    def __init__(self, original: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads = original.num_heads
        self.in_proj_weight, self.in_proj_bias = original.in_proj_weight, original.in_proj_bias
        self.out_proj = original.out_proj
        self.batch_first = True  # asked for by the transformer around it

    def forward(
        self,
        x: torch.Tensor,
        _key: torch.Tensor,
        _value: torch.Tensor,
        *,
        need_weights: bool = False,  # noqa: ARG002 - the signature of what this replaces
        attn_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, None]:
        """Map (B, L, D) to (B, L, D)."""
        batch, length, width = x.shape
        packed = F.linear(x, self.in_proj_weight, self.in_proj_bias).view(batch, length, 3, self.heads, -1)
        query, key, value = packed.permute(2, 0, 3, 1, 4)
        mask = attn_mask.to(x.dtype) if attn_mask is not None and attn_mask.is_floating_point() else attn_mask
        if mask is not None and mask.dim() == 3:  # one for each head of each text
            mask = mask.view(batch, self.heads, length, length)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out_proj(attended.transpose(1, 2).reshape(batch, length, width)), None


def with_fast_attention(model: nn.Module) -> nn.Module:
    """Replace the attention of open_clip's own residual blocks, in place; other towers are left as they are."""
    for block in model.modules():
        if not isinstance(block, ResidualAttentionBlock) or hasattr(block, "ln_1_kv"):
            continue  # with `ln_1_kv` it attends to something else than itself
        if type(block.attn) is nn.MultiheadAttention:
            attention = block.attn
            if attention.batch_first and attention.in_proj_weight is not None and attention.bias_k is None:
                block.attn = SelfAttention(attention)
    return model
