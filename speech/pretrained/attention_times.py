"""When each token was said, from the cross-attention of a decoder.

Some heads of Whisper's decoder attend to the sound that is being written. The scores of these heads are
compared over the tokens, smoothed, averaged, and aligned with the frames by dynamic programming, much as
Whisper's authors do for the times of words. Here every token has a frame at least, and time runs forward.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Span = tuple[int, int]
"""Frames [start, stop)."""


class RecordedAttention:
    """What cross-attention layers computed in a forward pass, for one utterance.

    Example:
        >>> recorded = RecordedAttention()
        >>> recorded.queries[0], recorded.keys[0] = torch.zeros(1, 3, 8), torch.zeros(1, 50, 8)
        >>> recorded.weights([(0, 0), (0, 1)], size=4).shape
        torch.Size([2, 3, 50])
    """

    def __init__(self) -> None:
        self.queries: dict[int, Tensor] = {}
        self.keys: dict[int, Tensor] = {}

    def weights(self, heads: Sequence[tuple[int, int]], size: int) -> Tensor:
        """Return the attention (heads, tokens, frames) of some (layer, head), each of `size` values."""
        found = []
        for layer, head in heads:
            own = slice(head * size, (head + 1) * size)
            query, key = self.queries[layer][0, :, own].float(), self.keys[layer][0, :, own].float()
            found.append((query @ key.T / size**0.5).softmax(-1))
        return torch.stack(found)


@contextmanager
def recorded_attention(layers: Sequence[Any]) -> Iterator[RecordedAttention]:
    """Record the cross-attention (`encoder_attn`) of decoder layers in the block."""
    recorded = RecordedAttention()
    hooks = []
    for index, layer in enumerate(layers):
        for place, projection in (
            (recorded.queries, layer.encoder_attn.q_proj),
            (recorded.keys, layer.encoder_attn.k_proj),
        ):

            def keep(
                _module: object, _args: object, found: Tensor, to: dict[int, Tensor] = place, at: int = index
            ) -> None:
                to[at] = found

            hooks.append(projection.register_forward_hook(keep))
    try:
        yield recorded
    finally:
        for hook in hooks:
            hook.remove()


def token_spans(weights: Tensor, filter_width: int) -> list[Span] | None:
    """Return the frames of each token, from attention (heads, tokens, frames); None for too few frames."""
    if weights.shape[2] < weights.shape[1]:
        return None
    deviation, mean = torch.std_mean(weights, dim=1, keepdim=True, correction=0)
    scores = _smoothed((weights - mean) / deviation.clamp(min=1e-12), filter_width).mean(0)
    path = _best_path(scores.cpu().double().numpy())
    starts = np.searchsorted(path, np.arange(len(scores)))
    return list(zip(starts.tolist(), [*starts[1:].tolist(), len(path)], strict=True))


def _smoothed(scores: Tensor, width: int) -> Tensor:
    """Return the running median over frames."""
    half = width // 2
    if scores.shape[-1] <= half:
        return scores
    padded = torch.nn.functional.pad(scores, (half, half), mode="reflect")
    return padded.unfold(-1, width, 1).median(-1).values


def _best_path(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the token of every frame: from the first to the last, by steps of 0 or 1."""
    tokens, frames = scores.shape
    advances = np.zeros((frames, tokens), dtype=bool)
    best = np.full(tokens, -np.inf)
    best[0] = scores[0, 0]
    for frame in range(1, frames):
        before = np.concatenate([[-np.inf], best[:-1]])
        advances[frame] = before > best
        best = np.maximum(before, best) + scores[:, frame]
    path = np.empty(frames, dtype=np.int64)
    token = tokens - 1
    for frame in range(frames - 1, -1, -1):
        path[frame] = token
        token -= int(advances[frame, token])
    return path
