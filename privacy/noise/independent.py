"""A round's noise on the released sum: which coordinates get how much, block by block.

`RoundNoise.noised_blocks` is the only place where noise meets data. It walks the slices in runs of equal
noise, widens one block at a time to 64 bits, and hands out each block noised; the caller's sum is only read.
"""

from collections.abc import Iterator
from typing import Protocol

import torch

from privacy.clipping.bounds import ClipBounds
from privacy.clipping.quantisation import Quantiser
from privacy.noise.secure import Integers, NoiseSource
from privacy.noise.shape import relative_stds

BLOCK = 1 << 18  # coordinates noised at a time: what a core still has in its caches when the next pass comes

NoisedBlock = tuple[int, int, Integers]
"""Where a block begins and ends, and its noised sums in grid steps."""


class RoundNoise(Protocol):
    """What adds a round's noise to its sum."""

    def noised_blocks(
        self,
        sums: torch.Tensor,
        bounds: ClipBounds,
        quantiser: Quantiser,
        noise_multiplier: float,
        source: NoiseSource,
    ) -> Iterator[NoisedBlock]:
        """Yield every block of ``sums`` (integers, shape (size,), only read) with noise, in order.

        What is yielded holds until the next block. A block of ``sums`` is never read again once it has been
        yielded: its memory is the caller's to use.
        """
        ...


class IndependentNoise:
    """Fresh Gaussian noise each round, of a shape (`privacy.noise.shape`).

    Guarantee:
        The round is a Gaussian mechanism of the given noise multiplier for every update within the bounds.
    """

    def __init__(self, shape: str = "isotropic") -> None:
        self.shape = shape

    def noised_blocks(
        self,
        sums: torch.Tensor,
        bounds: ClipBounds,
        quantiser: Quantiser,
        noise_multiplier: float,
        source: NoiseSource,
    ) -> Iterator[NoisedBlock]:
        """See `RoundNoise`; a noise multiplier of 0 adds nothing."""
        scratch = torch.empty(min(BLOCK, sums.numel()), dtype=torch.int64)
        for begin, end, std_steps in blocks(self.shape, bounds, quantiser, noise_multiplier):
            block: Integers = scratch[: end - begin].copy_(sums[begin:end]).numpy()
            if std_steps:
                source.add_rounded_(block, std_steps)
            yield begin, end, block


def blocks(
    shape: str, bounds: ClipBounds, quantiser: Quantiser, noise_multiplier: float
) -> Iterator[tuple[int, int, float]]:
    """Begin, end and the noise's standard deviation in steps, of blocks that cover the released vector."""
    unit = quantiser.noise_std_steps(noise_multiplier)
    for begin, end, relative in _runs(bounds, relative_stds(shape, bounds)):
        for start in range(begin, end, BLOCK):
            yield start, min(start + BLOCK, end), unit * relative


def _runs(bounds: ClipBounds, relative: tuple[float, ...]) -> Iterator[tuple[int, int, float]]:
    """Neighbouring slices of equal noise joined into one run."""
    begin = 0
    for index, value in enumerate(relative):
        end = bounds.offsets[index + 1]
        last = index + 1 == len(relative)
        if last or relative[index + 1] != value:
            yield begin, end, value
            begin = end
