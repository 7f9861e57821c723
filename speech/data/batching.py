"""Batches: utterances of like length together, so that little of the work is spent on padding."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from speech.data.examples import Example

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


@dataclass(frozen=True, kw_only=True)
class BatchLimit:
    """How large a batch may be: so many `utterances`, or so many `seconds` of audio; the other is 0.

    Seconds count the padding too: they bound the memory and the time that a batch takes. An utterance
    longer than that is a batch of its own.
    """

    utterances: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.utterances < 0 or not 0 <= self.seconds < math.inf:
            raise ValueError(
                f"batch-size = {self.utterances} and batch-seconds = {self.seconds} must be at least 0."
            )
        if (self.utterances == 0) == (self.seconds == 0):
            raise ValueError(
                f"batch-size = {self.utterances} and batch-seconds = {self.seconds:g}: "
                "set exactly one of them above 0."
            )

    def batches(
        self, lengths: Sequence[int], hop_seconds: float, generator: torch.Generator | None = None
    ) -> list[list[int]]:
        """Every index of `lengths` (frames of `hop_seconds`) once, as `bucketed_batches` has it."""
        if self.utterances:
            return bucketed_batches(lengths, self.utterances, generator)
        return dynamic_batches(lengths, round(self.seconds / hop_seconds), generator)


def bucketed_batches(
    lengths: Sequence[int], batch_size: int, generator: torch.Generator | None = None
) -> list[list[int]]:
    """Every index of `lengths` once, in batches of like length; at most the last made is smaller.

    With a generator, neighbours in length are mixed and the batches come in random order; without
    one the longest come first, always the same.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1.")
    order = _longest_first(lengths, generator)
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return _shuffled(batches, generator)


def dynamic_batches(
    lengths: Sequence[int], most_frames: int, generator: torch.Generator | None = None
) -> list[list[int]]:
    """As `bucketed_batches`, in batches of at most `most_frames` frames, padding included.

    Long utterances come in small batches and short ones in large; one that alone has more frames
    is a batch of its own.
    """
    if most_frames < 1:
        raise ValueError(f"most_frames={most_frames} must be at least 1.")
    batches: list[list[int]] = []
    longest = 0
    for index in _longest_first(lengths, generator):
        longest = max(longest, lengths[index])
        if not batches or longest * (len(batches[-1]) + 1) > most_frames:
            batches.append([])
            longest = lengths[index]
        batches[-1].append(index)
    return _shuffled(batches, generator)


def _longest_first(lengths: Sequence[int], generator: torch.Generator | None) -> list[int]:
    """Indices by falling length, each length moved a little if there is a generator."""
    keys = torch.tensor(lengths, dtype=torch.float64)
    if generator is not None:
        keys *= 1 + _JITTER * (torch.rand(len(keys), generator=generator, dtype=keys.dtype) - 0.5)
    return keys.argsort(descending=True, stable=True).tolist()


def _shuffled(batches: list[list[int]], generator: torch.Generator | None) -> list[list[int]]:
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
