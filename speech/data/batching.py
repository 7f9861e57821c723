"""Batches of utterances of similar length, so that little work is spent on padding."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from speech.data.examples import Example

# Random change of a length when batches are drawn: enough to mix neighbours, with little padding.
_JITTER = 0.15


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """B utterances: features (B, T, mels), zero beyond `lengths` (B,), and concatenated tokens.

    `tokens` is (sum of `token_lengths`,) int64. `shortest` (B,) is the number of encoder frames that CTC
    needs for each utterance. All but the features stay on the CPU, where the loss needs them.

    Example:
        >>> first = Example.of("u1", "a cat", torch.ones(50, 40))
        >>> batch = collate([first, Example.of("u2", "dog", torch.ones(30, 40))])
        >>> batch.features.shape, batch.lengths.tolist(), batch.token_lengths.tolist()
        (torch.Size([2, 50, 40]), [50, 30], [5, 3])
    """

    features: Tensor
    lengths: Tensor
    tokens: Tensor
    token_lengths: Tensor
    shortest: Tensor

    def __len__(self) -> int:
        return len(self.lengths)

    def with_features(self, features: Tensor) -> "Batch":
        """Return the same utterances with other features of the same shape, such as masked ones."""
        return replace(self, features=features)

    def part(self, indices: Sequence[int]) -> "Batch":
        """Return some of the utterances, with as much padding as these need.

        Example:
            >>> first = Example.of("u1", "a", torch.ones(5, 2))
            >>> batch = collate([first, Example.of("u2", "by", torch.ones(3, 2))])
            >>> batch.part([1]).features.shape, batch.part([1]).tokens.tolist()
            (torch.Size([1, 3, 2]), [1, 24])
        """
        chosen = torch.tensor(indices)
        lengths = self.lengths[chosen]
        tokens = self.tokens.split(self.token_lengths.tolist())  # type: ignore[no-untyped-call]
        return Batch(
            features=self.features[chosen, : int(lengths.max())],
            lengths=lengths,
            tokens=torch.cat([tokens[index] for index in indices]),
            token_lengths=self.token_lengths[chosen],
            shortest=self.shortest[chosen],
        )


def collate(examples: Sequence[Example]) -> Batch:
    """Make a batch.

    Raises:
        ValueError: If there is no example.
    """
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
    """The largest batch, in `utterances` or in `seconds` of audio; the other is 0.

    Seconds include padding: they bound the memory and the time of a batch. A longer utterance is a batch of
    its own.

    Raises:
        ValueError: If both or none are above 0.

    Example:
        >>> BatchLimit(utterances=2).batches([10, 30, 20], hop_seconds=0.01)
        [[1, 2], [0]]
        >>> BatchLimit(seconds=0.4).batches([10, 30, 20], hop_seconds=0.01)
        [[1], [2, 0]]
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
        """Return batches that have every index of `lengths` (frames of `hop_seconds`) once."""
        if self.utterances:
            return bucketed_batches(lengths, self.utterances, generator)
        return dynamic_batches(lengths, round(self.seconds / hop_seconds), generator)


def bucketed_batches(
    lengths: Sequence[int], batch_size: int, generator: torch.Generator | None = None
) -> list[list[int]]:
    """Return every index of `lengths` once, in batches of similar length; one batch may be smaller.

    With a generator, neighbours in length are mixed, and the order of batches is random. Without one the
    longest come first, always in the same order.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1.")
    order = _longest_first(lengths, generator)
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return _shuffled(batches, generator)


def dynamic_batches(
    lengths: Sequence[int], most_frames: int, generator: torch.Generator | None = None
) -> list[list[int]]:
    """Return batches as `bucketed_batches` does, of at most `most_frames` frames, padding included.

    Batches of long utterances are small, those of short ones large. An utterance with more frames is a batch
    of its own.
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
    """Return indices by falling length; with a generator, lengths are changed a little first."""
    keys = torch.tensor(lengths, dtype=torch.float64)
    if generator is not None:
        keys *= 1 + _JITTER * (torch.rand(len(keys), generator=generator, dtype=keys.dtype) - 0.5)
    order: list[int] = keys.argsort(descending=True, stable=True).tolist()
    return order


def _shuffled(batches: list[list[int]], generator: torch.Generator | None) -> list[list[int]]:
    if generator is None:
        return batches
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def _padded(features: Sequence[Tensor]) -> Tensor:
    """Return (B, T, mels), zero beyond the frames of each utterance."""
    longest = max(len(feature) for feature in features)
    padded = features[0].new_empty(len(features), longest, features[0].shape[1])
    for row, feature in zip(padded, features, strict=True):
        row[: len(feature)] = feature
        row[len(feature) :] = 0
    return padded
