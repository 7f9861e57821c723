"""The noise of one round on the released sum: how much each coordinate gets, block by block.

`RoundNoise.noised_blocks` is the only place where noise meets data. It walks over the slices in runs of equal
noise, widens one block at a time to 64 bits, and yields each block with its noise. It only reads the caller's
sum.
"""

from collections.abc import Iterator
from typing import Protocol

import torch

from privacy.accounting.releases import Release
from privacy.clipping.bounds import ClipBounds
from privacy.clipping.quantisation import Quantiser
from privacy.noise.secure import Integers, NoiseSource
from privacy.noise.shape import relative_stds
from privacy.plan import PrivacyPlan

BLOCK = 1 << 18  # coordinates per block: small enough to stay in a core's caches until the next pass

NoisedBlock = tuple[int, int, Integers]
"""Begin and end of a block, and its noised sums in quantisation steps."""


class RoundNoise(Protocol):
    """A noise mechanism: it adds one round's noise to the round's sum.

    A mechanism must declare its accounting event. `privacy.noise.factory.charge_of` refuses one that declares
    none, or another event than the plan charges, before anything is released.
    """

    def accounting(self, plan: PrivacyPlan) -> Release | None:
        """The release that covers `plan.bands` rounds of this noise; None if no accounting covers it."""
        ...

    def noised_blocks(
        self,
        sums: torch.Tensor,
        bounds: ClipBounds,
        quantiser: Quantiser,
        noise_multiplier: float,
        source: NoiseSource,
    ) -> Iterator[NoisedBlock]:
        """Yield every block of ``sums`` with noise, in order.

        A yielded block is valid until the next one is taken. After a block is yielded, its part of ``sums``
        is not read again: the caller may overwrite that memory.

        Args:
            sums: integers, shape (size,); only read.
            bounds: the clip bounds of the round.
            quantiser: the quantiser of these bounds.
            noise_multiplier: z, the standard deviation on the sum in units of C.
            source: where the random values come from.
        """
        ...


class IndependentNoise:
    """Fresh Gaussian noise in each round, of one shape (`privacy.noise.shape`).

    Guarantee:
        A round is a Gaussian mechanism with the given noise multiplier, for every update within the bounds.

    Example:
        >>> bounds = ClipBounds(offsets=(0, 3), bounds=(1.0,))
        >>> sums = torch.tensor([5, -2, 7])
        >>> noise, source = IndependentNoise(), None  # a multiplier of 0 asks the source for nothing
        >>> [(begin, end, block.tolist()) for begin, end, block in noise.noised_blocks(
        ...     sums, bounds, Quantiser.of(bounds), 0.0, source)]
        [(0, 3, [5, -2, 7])]
    """

    def __init__(self, shape: str = "isotropic") -> None:
        self.shape = shape

    def accounting(self, plan: PrivacyPlan) -> Release | None:
        """The plan's own release. With bands too: a speaker takes part at most once in ``bands`` rounds."""
        return plan.release

    def noised_blocks(
        self,
        sums: torch.Tensor,
        bounds: ClipBounds,
        quantiser: Quantiser,
        noise_multiplier: float,
        source: NoiseSource,
    ) -> Iterator[NoisedBlock]:
        """See `RoundNoise`. A noise multiplier of 0 adds nothing."""
        scratch = torch.empty(min(BLOCK, sums.numel()), dtype=torch.int64)
        relative = relative_stds(self.shape, bounds)
        for begin, end, std_steps in blocks(relative, bounds, quantiser, noise_multiplier):
            block: Integers = scratch[: end - begin].copy_(sums[begin:end]).numpy()
            if std_steps:
                source.add_rounded_(block, std_steps)
            yield begin, end, block


def blocks(
    relative: tuple[float, ...], bounds: ClipBounds, quantiser: Quantiser, noise_multiplier: float
) -> Iterator[tuple[int, int, float]]:
    """Blocks that cover the released vector: begin, end, and the noise's standard deviation in steps.

    Args:
        relative: `relative_stds` of these bounds. Ask for them once a round: a shape's next answer may
            differ.
        bounds: the clip bounds.
        quantiser: the quantiser of these bounds.
        noise_multiplier: z.
    """
    unit = quantiser.noise_std_steps(noise_multiplier)
    for begin, end, of_unit in _runs(bounds, relative):
        for start in range(begin, end, BLOCK):
            yield start, min(start + BLOCK, end), unit * of_unit


def _runs(bounds: ClipBounds, relative: tuple[float, ...]) -> Iterator[tuple[int, int, float]]:
    """Join neighbouring slices of equal noise into one run."""
    begin = 0
    for index, value in enumerate(relative):
        end = bounds.offsets[index + 1]
        last = index + 1 == len(relative)
        if last or relative[index + 1] != value:
            yield begin, end, value
            begin = end
