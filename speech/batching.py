"""Batches: utterances of like length together, so that little of the work is spent on padding."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from speech.examples import Example

# How far a length may move when batches are drawn: enough to mix neighbours, little padding.
_JITTER = 0.15


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """B utterances: features (B, T, mels) zero beyond `lengths` (B,); tokens one after the other.

    `tokens` (sum of `token_lengths`,) int64; `shortest` (B,) is the number of encoder frames that
    CTC needs for each. All but the features stay on the CPU, where the loss wants them.
    """

    features: Tensor
    lengths: Tensor
    tokens: Tensor
    token_lengths: Tensor
    shortest: Tensor

    def __len__(self) -> int:
        return len(self.lengths)

    def with_features(self, features: Tensor) -> "Batch":
        """The same utterances with other features of the same shape, such as augmented ones."""
        return replace(self, features=features)


def collate(examples: Sequence[Example]) -> Batch:
    """One batch of at least one example."""
    if not examples:
        raise ValueError("a batch needs at least one example; this one has none.")
    features = [example.features for example in examples]
    return Batch(
        features=_padded(features),
        lengths=torch.tensor([len(feature) for feature in features]),
        tokens=torch.cat([example.tokens for example in examples]),
        token_lengths=torch.tensor([len(example.tokens) for example in examples]),
        shortest=torch.tensor([example.shortest for example in examples]),
    )


def bucketed_batches(
    lengths: Sequence[int], batch_size: int, generator: torch.Generator | None = None
) -> list[list[int]]:
    """Every index of `lengths` once, in batches of like length; at most the last made is smaller.

    With a generator, neighbours in length are mixed and the batches come in random order; without
    one the longest come first, always the same.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1.")
    keys = torch.tensor(lengths, dtype=torch.float64)
    if generator is not None:
        keys *= 1 + _JITTER * (torch.rand(len(keys), generator=generator, dtype=keys.dtype) - 0.5)
    order = keys.argsort(descending=True, stable=True).tolist()
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if generator is None:
        return batches
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def _padded(features: Sequence[Tensor]) -> Tensor:
    """(B, T, mels), zero beyond each utterance's own frames."""
    longest = max(len(feature) for feature in features)
    padded = features[0].new_empty(len(features), longest, features[0].shape[1])
    for row, feature in zip(padded, features, strict=True):
        row[: len(feature)] = feature
        row[len(feature) :] = 0
    return padded
