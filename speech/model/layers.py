"""The layers of the acoustic model.

Guarantees: no layer mixes utterances, and no layer has a buffer.

Shapes: B utterances, T feature frames, T' encoder frames. `valid` is (B, T') bool, true where a frame belongs
to its utterance, or None without padding (the cheap case).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class MaskedInputNorm(nn.Module):
    """Normalises each utterance over its valid (time x mel) entries, with one scale and one shift.

    Example:
        >>> normed = MaskedInputNorm()(torch.arange(6.0).view(1, 3, 2), torch.tensor([3]))
        >>> round(float(normed.mean()), 3), round(float(normed.std(correction=0)), 3)
        (0.0, 1.0)
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, mels) in and out; zero beyond the lengths, with any shift."""
        valid = valid_frames(lengths, features.shape[1])
        if valid is not None:
            valid = valid.to(features.device)
        mean, variance = valid_statistics(features, valid)
        normed = (features - mean) * (variance + 1e-5).rsqrt() * self.scale + self.shift
        return normed if valid is None else normed * valid.unsqueeze(-1)


class StridedFrontend(nn.Module):
    """A centred convolution over time with a stride, then GLU (over doubled channels) or ReLU.

    Example:
        >>> frontend = StridedFrontend(40, 96, kernel=9, stride=4, glu=False)
        >>> frontend(torch.zeros(1, 100, 40)).shape
        torch.Size([1, 25, 96])
    """

    def __init__(
        self, num_mels: int, width: int, *, kernel: int, stride: int, glu: bool, zero_bias: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(num_mels, width * 2 if glu else width, kernel, stride)
        self.activation = functional.glu if glu else functional.relu
        lecun_uniform_(self.conv, zero_bias=zero_bias)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, T, mels) to (B, max(T // stride, 1), width) by one matrix product over windows."""
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        batch, time, mels = features.shape
        left = kernel // 2
        # (B, time // stride + 1, mels, kernel): the order of the weight of a Conv1d.
        windows = functional.pad(features, (0, 0, left, kernel - left)).unfold(1, kernel, stride)
        frames = windows.shape[1] - 1 if time >= stride else 1
        flat = windows[:, :frames].reshape(batch, frames, mels * kernel)
        return self.activation(functional.linear(flat, self.conv.weight.flatten(1), self.conv.bias))


class ConvPositions(nn.Module):
    """Positions as a depthwise convolution over neighbouring frames, which is added; then dropout.

    Example:
        >>> positions = ConvPositions(16, kernel=3)
        >>> positions(torch.zeros(1, 5, 16), torch.tensor([5]), None).shape
        torch.Size([1, 5, 16])
    """

    def __init__(self, width: int, *, kernel: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.conv = nn.Conv1d(width, width, kernel, groups=width)

    def forward(self, hidden: Tensor, frames: Tensor, valid: Tensor | None) -> Tensor:
        """(B, T', width) in and out; frames of padding do not reach the valid ones."""
        if valid is not None:
            hidden = hidden * valid.unsqueeze(-1)
        # As a 2-D convolution with channels last it needs no transposing copy (8 times faster).
        image = hidden.transpose(1, 2).unsqueeze(2)
        weight = self.conv.weight.unsqueeze(2)
        padding = (0, self.conv.kernel_size[0] // 2)
        mixed = functional.conv2d(image, weight, self.conv.bias, padding=padding, groups=self.conv.groups)
        return dropped(hidden + mixed.squeeze(2).transpose(1, 2), self.dropout, self.training)


class CapePositions(nn.Module):
    """Continuous augmented positions (CAPE, arXiv 2106.03143): sinusoids of the time in seconds.

    Times are centred on the utterance. Training shifts each utterance as a whole by up to 30 s, so a model
    can learn distances only.

    Example:
        >>> positions = CapePositions(step_seconds=0.03).eval()
        >>> positions(torch.zeros(1, 5, 16), torch.tensor([5]), None).shape
        torch.Size([1, 5, 16])
    """

    frequency_scale = 30.0
    largest_shift_seconds = 30.0

    def __init__(self, *, step_seconds: float) -> None:
        super().__init__()
        self.step_seconds = step_seconds

    def forward(self, hidden: Tensor, frames: Tensor, valid: Tensor | None) -> Tensor:
        """(B, T', width) in and out; `frames` (B,) are the valid lengths."""
        count, width, device = hidden.shape[1], hidden.shape[2], hidden.device
        index = torch.arange(count, device=device, dtype=torch.float32)
        centre = (frames.to(device, torch.float32).unsqueeze(1) - 1) / 2
        seconds = (index - centre) * self.step_seconds
        if self.training:
            shift = torch.rand(len(frames), 1, device=device) * 2 - 1
            seconds = seconds + shift * self.largest_shift_seconds
        channel = torch.arange(width, device=device, dtype=torch.float32)
        exponent = -2 * torch.floor(channel / 2) / width * math.log(10_000.0)
        frequency = self.frequency_scale * exponent.exp()
        phase = channel.remainder(2) * (math.pi / 2)
        return hidden + (seconds.unsqueeze(-1) * frequency + phase).sin().to(hidden.dtype)


class Block(nn.Module):
    """A transformer block without biases: attention with fused wqkv, then a ReLU MLP.

    Pre-LN normalises the input of each half, post-LN its output (`post_norm`). Dropout applies to the
    attention weights and after the ReLU; with `drop_outputs` also to the output of each half.

    Example:
        >>> block = Block(16, heads=2, feed_forward=32, dropout=0.0)
        >>> block(torch.zeros(1, 5, 16), None, None).shape
        torch.Size([1, 5, 16])
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        feed_forward: int,
        dropout: float,
        post_norm: bool = False,
        drop_outputs: bool = True,
    ) -> None:
        super().__init__()
        self.heads, self.dropout, self.post_norm = heads, dropout, post_norm
        self.drop_outputs = drop_outputs
        self.attention_norm = nn.LayerNorm(width)
        self.wqkv = nn.Linear(width, 3 * width, bias=False)
        self.wo = nn.Linear(width, width, bias=False)
        self.mlp_norm = nn.LayerNorm(width)
        self.w1 = nn.Linear(width, feed_forward, bias=False)
        self.w2 = nn.Linear(feed_forward, width, bias=False)

    def forward(self, hidden: Tensor, valid: Tensor | None, mask: Tensor | None) -> Tensor:
        """(B, T', width) in and out; `mask` (B, 1, 1, T') is added to the attention scores."""
        if self.post_norm:
            hidden = self.attention_norm(hidden + self._attention(hidden, mask))
            normed: Tensor = self.mlp_norm(hidden + self._mlp(hidden))
            return normed
        hidden = hidden + self._attention(self.attention_norm(hidden), mask)
        return hidden + self._mlp(self.mlp_norm(hidden))

    def norms(self, hidden: Tensor) -> Tensor:
        """Apply both norms of a post-LN block and nothing between them: (B, T', width) in and out."""
        normed: Tensor = self.mlp_norm(self.attention_norm(hidden))
        return normed

    def _attention(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        return self._output(self.wo(attended(self.wqkv(hidden), self.heads, mask, dropout)))

    def _mlp(self, hidden: Tensor) -> Tensor:
        inner = dropped(functional.relu(self.w1(hidden)), self.dropout, self.training)
        return self._output(self.w2(inner))

    def _output(self, hidden: Tensor) -> Tensor:
        return dropped(hidden, self.dropout, self.training) if self.drop_outputs else hidden


def attended(qkv: Tensor, heads: int, mask: Tensor | None, dropout: float) -> Tensor:
    """Compute multi-head attention (B, T', width) of queries, keys and values (B, T', 3 width).

    `mask` (B, 1, 1, T') is added to the scores; `dropout` applies to the attention weights.
    """
    batch, time, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    query, key, value = qkv.view(batch, time, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    return mixed.transpose(1, 2).reshape(batch, time, width)


def valid_frames(lengths: Tensor, time: int) -> Tensor | None:
    """Return (B, time) bool, true where a frame belongs to its utterance; None if all do."""
    # A compiled or exported graph has one path for all lengths.
    if not torch.compiler.is_compiling() and int(lengths.min()) >= time:
        return None
    return torch.arange(time, device=lengths.device) < lengths.unsqueeze(1)


def valid_statistics(hidden: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return mean and variance (B, 1, 1) of each utterance in (B, T, channels) over valid frames."""
    if valid is None:
        variance, mean = torch.var_mean(hidden, (1, 2), correction=0, keepdim=True)
        return mean, variance
    weights = valid.to(hidden.dtype).unsqueeze(-1)
    entries = weights.sum((1, 2), keepdim=True) * hidden.shape[2]
    mean = (hidden * weights).sum((1, 2), keepdim=True) / entries
    variance = ((hidden - mean) * weights).square().sum((1, 2), keepdim=True) / entries
    return mean, variance


def attention_mask(valid: Tensor, dtype: torch.dtype) -> Tensor:
    """Return (B, 1, 1, T'), minus infinity at keys that are padding; made once for all blocks."""
    mask = torch.zeros(valid.shape, dtype=dtype, device=valid.device)
    return mask.masked_fill_(~valid, -math.inf)[:, None, None, :]


def dropped(hidden: Tensor, probability: float, training: bool) -> Tensor:
    """Apply dropout; without any, it costs nothing."""
    return functional.dropout(hidden, probability) if training and probability > 0 else hidden


def lecun_uniform_(layer: nn.Conv1d | nn.Linear, *, zero_bias: bool = True) -> None:
    """Draw weights from U(+-sqrt(3 / fan-in)); set biases to zero, or leave torch's U(+-sqrt(1 / fan-in)).

    The authors' release has torch's biases. For the weights of blocks it has the default of `nn.Linear`.
    """
    bound = math.sqrt(3 / layer.weight[0].numel())
    nn.init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None and zero_bias:
        nn.init.zeros_(layer.bias)
