"""A loaded torch model goes in; the same model comes out, with the layers replaced that torch computes wastefully on a CPU."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import linear, scaled_dot_product_attention


class BatchFirstAttention(nn.Module):
    """What `nn.MultiheadAttention(batch_first=True)` gives in evaluation when key and value are one tensor, on contiguous memory.

    Torch puts the sequence first before it projects, and for two photos or more the product of that view with the weights copies the
    weights once for every place of the sequence: 460 MB for a batch of SigLIP B/16 in bf16, 920 MB in fp32. At eight photos, 30 % of the
    time.
    """

    def __init__(self, original: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads = original.num_heads
        self.in_proj_weight, self.in_proj_bias, self.out_proj = original.in_proj_weight, original.in_proj_bias, original.out_proj

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, None]:
        """(b, q, d), (b, n, d), the same (b, n, d), and an additive (b * heads, q, n) -> (b, q, d)."""
        if key is not value:
            raise ValueError("expected key and value to be one tensor, got two")
        width = query.shape[-1]
        bias = (None, None) if self.in_proj_bias is None else self.in_proj_bias.split([width, 2 * width])
        wanted = linear(query, self.in_proj_weight[:width], bias[0])
        keys, values = linear(key.contiguous(), self.in_proj_weight[width:], bias[1]).chunk(2, dim=-1)
        mask = None if attn_mask is None else attn_mask.unflatten(0, (-1, self.heads)).to(wanted.dtype)
        attended = scaled_dot_product_attention(self._split(wanted), self._split(keys), self._split(values), attn_mask=mask)
        return self.out_proj(attended.transpose(1, 2).flatten(2)), None

    def _split(self, rows: torch.Tensor) -> torch.Tensor:
        """(b, n, d) -> (b, heads, n, d / heads)"""
        return rows.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def rewired(model: nn.Module) -> nn.Module:
    """The model, changed in place: attention that pools, and pictures as their patches are read (channels last)."""
    from transformers.models.siglip.modeling_siglip import SiglipMultiheadAttentionPoolingHead
    from transformers.models.siglip2.modeling_siglip2 import Siglip2MultiheadAttentionPoolingHead

    for head in model.modules():
        if isinstance(head, SiglipMultiheadAttentionPoolingHead | Siglip2MultiheadAttentionPoolingHead):
            head.add_module("attention", BatchFirstAttention(head.attention))
    return model.to(memory_format=torch.channels_last)
