"""Averages of the server's iterates: the model that is evaluated and kept can be a mean of noisy models.

Noise that is fresh in every round partly cancels in a mean of several rounds. Training goes on from the
iterate itself, never from the mean.

Guarantee: an average is a function of released models and of the round alone, so it costs no privacy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from optim.base import BLOCK

NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Averaging:
    """A rule for the weight of the newest iterate in the average; all earlier ones share the rest.

    - 'none': the average is the newest iterate.
    - 'ema': exponential moving average, which starts from the seed model. In round t its decay is
      min(`decay`, (1 + t) / (10 + t)), so that the seed model does not outlive the first rounds; this is
      the schedule of De et al. (2022, arXiv 2204.13650) for models under differential privacy.
    - 'tail': the plain mean over the last `share` of the rounds (suffix averaging: Polyak & Juditsky 1992;
      Rakhlin et al. 2012). Before them it is the newest iterate.

    Args:
        rule: The name of the rule.
        decay: The largest decay of 'ema', in [0, 1).
        share: The share of the rounds that 'tail' averages, in (0, 1].

    Example:
        >>> tail = Averaging(rule="tail", share=0.5)
        >>> [round(tail.newest_weight(number, rounds=6), 3) for number in range(1, 7)]
        [1.0, 1.0, 1.0, 1.0, 0.5, 0.333]
        >>> round(Averaging(rule="ema").newest_weight(1, rounds=6), 3)
        0.818
    """

    rule: str = NONE
    decay: float = 0.99
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.rule not in _NEWEST_WEIGHTS:
            raise ValueError(f"averaging rule {self.rule!r}: known are {', '.join(_NEWEST_WEIGHTS)}")
        if not (0 <= self.decay < 1 and 0 < self.share <= 1):
            raise ValueError(
                f"Expected 0 <= decay < 1 and 0 < share <= 1, got decay={self.decay!r}, share={self.share!r}."
            )

    @property
    def averages(self) -> bool:
        """Whether the average differs from the newest iterate at all."""
        return self.rule != NONE

    def newest_weight(self, round_number: int, rounds: int) -> float:
        """The weight, in (0, 1], of the iterate of `round_number` (1, 2, ...) of `rounds` in the average."""
        return _NEWEST_WEIGHTS[self.rule](self, round_number, rounds)

    def first_round(self, rounds: int) -> int:
        """The first round that 'tail' averages, of `rounds`."""
        return rounds - max(1, round(self.share * rounds)) + 1


def _all(rule: Averaging, round_number: int, rounds: int) -> float:
    return 1.0


def _ema(rule: Averaging, round_number: int, rounds: int) -> float:
    return 1 - min(rule.decay, (1 + round_number) / (10 + round_number))


def _tail(rule: Averaging, round_number: int, rounds: int) -> float:
    return 1 / max(1, round_number - rule.first_round(rounds) + 1)


_NEWEST_WEIGHTS: dict[str, Callable[[Averaging, int, int], float]] = {NONE: _all, "ema": _ema, "tail": _tail}


def average_(average: Tensor, newest: Tensor, weight: float) -> None:
    """average <- (1 - weight) average + weight newest, in place, for vectors (d,); weight 1 copies exactly.

    Example:
        >>> import torch
        >>> average = torch.tensor([1.0])
        >>> average_(average, torch.tensor([5.0]), 0.25)
        >>> average
        tensor([2.])
    """
    average.lerp_(newest, weight)


def swap_(one: Tensor, other: Tensor) -> None:
    """Exchange the values of two vectors (d,) in place, with scratch memory for one block.

    Example:
        >>> import torch
        >>> one, other = torch.zeros(2), torch.ones(2)
        >>> swap_(one, other)
        >>> one, other
        (tensor([1., 1.]), tensor([0., 0.]))
    """
    for begin in range(0, one.numel(), BLOCK):
        here, there = one[begin : begin + BLOCK], other[begin : begin + BLOCK]
        kept = here.clone()
        here.copy_(there)
        there.copy_(kept)
