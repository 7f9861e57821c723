"""The Conformer block (Gulati et al. 2020, arXiv 2005.08100), with the tensors of torchaudio's.

On one utterance it computes the same as `torchaudio.models.Conformer(use_group_norm=True)` with the same
weights. There the frames of padding enter the convolution and the statistics of the group norm, so the output
for an utterance depends on its batch. Here padding has no effect.
"""

from torch import Tensor, nn
from torch.nn import functional

from speech.model.layers import attended, dropped, valid_statistics


class ConformerBlock(nn.Module):
    """Half a feed-forward, attention, convolution, half a feed-forward, and a norm; with biases.

    Example:
        >>> import torch
        >>> block = ConformerBlock(16, heads=2, feed_forward=32, kernel=3, dropout=0.0)
        >>> block(torch.zeros(1, 5, 16), None, None).shape
        torch.Size([1, 5, 16])
    """

    def __init__(self, width: int, *, heads: int, feed_forward: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.first_feed_forward = FeedForward(width, feed_forward, dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.wqkv = nn.Linear(width, 3 * width)
        self.wo = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.wqkv.weight)
        for layer in (self.wqkv, self.wo):
            nn.init.zeros_(layer.bias)
        self.convolution = Convolution(width, kernel, dropout)
        self.second_feed_forward = FeedForward(width, feed_forward, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, hidden: Tensor, valid: Tensor | None, mask: Tensor | None) -> Tensor:
        """(B, T', width) in and out; `valid` (B, T') and `mask` (B, 1, 1, T') exclude padding."""
        hidden = hidden + 0.5 * self.first_feed_forward(hidden)
        dropout = self.dropout if self.training else 0.0
        attention = self.wo(attended(self.wqkv(self.attention_norm(hidden)), self.heads, mask, dropout))
        hidden = hidden + dropped(attention, self.dropout, self.training)
        hidden = hidden + self.convolution(hidden, valid)
        normed: Tensor = self.norm(hidden + 0.5 * self.second_feed_forward(hidden))
        return normed


class FeedForward(nn.Module):
    """A feed-forward layer: norm, expansion, SiLU, contraction.

    Example:
        >>> import torch
        >>> FeedForward(16, 32, dropout=0.0)(torch.zeros(1, 5, 16)).shape
        torch.Size([1, 5, 16])
    """

    def __init__(self, width: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.norm = nn.LayerNorm(width)
        self.w1 = nn.Linear(width, feed_forward)
        self.w2 = nn.Linear(feed_forward, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T', width) in and out."""
        inner = dropped(functional.silu(self.w1(self.norm(hidden))), self.dropout, self.training)
        return dropped(self.w2(inner), self.dropout, self.training)


class Convolution(nn.Module):
    """A convolution over time: norm, pointwise GLU, depthwise, group norm of one group, SiLU, pointwise.

    Example:
        >>> import torch
        >>> Convolution(16, 3, dropout=0.0)(torch.zeros(1, 5, 16), None).shape
        torch.Size([1, 5, 16])
    """

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.group_norm = nn.GroupNorm(1, width)
        self.contract = nn.Linear(width, width)

    def forward(self, hidden: Tensor, valid: Tensor | None) -> Tensor:
        """(B, T', width) in and out; valid frames depend on valid frames only."""
        gated = functional.glu(self.expand(self.norm(hidden)))
        if valid is not None:
            gated = gated * valid.unsqueeze(-1)
        mixed = self.depthwise(gated.transpose(1, 2)).transpose(1, 2)
        normed = functional.silu(self._group_normed(mixed, valid))
        return dropped(self.contract(normed), self.dropout, self.training)

    def _group_normed(self, mixed: Tensor, valid: Tensor | None) -> Tensor:
        """Apply `self.group_norm` over the valid frames of each utterance and all channels."""
        mean, variance = valid_statistics(mixed.float(), valid)
        scale = (variance + self.group_norm.eps).rsqrt()
        normed = (mixed - mean) * scale * self.group_norm.weight + self.group_norm.bias
        return normed.to(mixed.dtype)
