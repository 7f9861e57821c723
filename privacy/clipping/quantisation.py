"""The integer grid: on it sums are exact in any order, and a bound that arithmetic cannot break.

A clipped update is rounded to multiples of ``step = C / 2**bits`` (`privacy.clipping.quantised_clipping`).
From there on updates are integers: their sum does not depend on the order of replies, it is small on the
wire, and with the noise rounded too the released values lie on a grid that knows nothing of the data (float
summation leaks through its last bits).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch

from privacy.clipping.bounds import ClipBounds
from privacy.validate import positive, whole

_MAX_BITS = 24
_SMALLEST_TOTAL, _LARGEST_TOTAL = 1e-30, 1e30


@dataclass(frozen=True, kw_only=True)
class Quantiser:
    """The grid of released values: multiples of ``step``, of which ``2**bits`` make the clip bound C.

    Make one with `Quantiser.of`. In units of steps the L2 sensitivity is exactly ``2**bits``, so noise of
    multiplier z has a standard deviation of ``z * 2**bits`` steps (`noise_std_steps`).
    """

    step: float
    bits: int = 20

    def __post_init__(self) -> None:
        positive(step=self.step)
        if not 1 <= whole(bits=self.bits) <= _MAX_BITS:
            raise ValueError(f"Expected 1 <= bits <= {_MAX_BITS}, got bits={self.bits}.")

    @classmethod
    def of(cls, bounds: ClipBounds, bits: int = 20) -> "Quantiser":
        """The grid whose step is C / 2**bits.

        Raises:
            ValueError: if C is outside [1e-30, 1e30], or if some slice's bound does not exceed its rounding
                margin, so that nothing but zero could be guaranteed to stay within it.
        """
        if not _SMALLEST_TOTAL <= bounds.total <= _LARGEST_TOTAL:
            raise ValueError(
                f"Expected a clip bound in [{_SMALLEST_TOTAL}, {_LARGEST_TOTAL}], got {bounds.total}."
            )
        quantiser = cls(step=bounds.total / 2**bits, bits=bits)
        for index, bound in enumerate(bounds.bounds):
            margin = quantiser.margin(bounds.group_size(range(index, index + 1)))
            if bound <= margin:
                enough = bits + math.floor(math.log2(margin / bound)) + 1
                raise ValueError(
                    f"The bound {bound:.3g} of slice {index} is no larger than the rounding margin "
                    f"{margin:.3g} of a grid of {bits} bits: use at least {enough} bits (at most "
                    f"{_MAX_BITS}), a higher bound for this slice, or fewer slices."
                )
        return quantiser

    def margin(self, size: int) -> float:
        """The most by which rounding to the grid can lengthen a vector of ``size`` values."""
        return self.step * math.sqrt(size) / 2

    def noise_std_steps(self, noise_multiplier: float) -> float:
        """The standard deviation, in steps, of noise of multiplier z: z C / step."""
        return noise_multiplier * 2.0**self.bits


@lru_cache(maxsize=64)
def squared_limits(bounds: ClipBounds, quantiser: Quantiser) -> tuple[int, ...]:
    """The largest squared norm in steps that each group of one update may have: whole numbers.

    Guarantee:
        They add up to at most ``4**bits``, the square of C in steps.

    Raises:
        ValueError: if the grid was made for other bounds.
    """
    if not math.isclose(quantiser.step * 2**quantiser.bits, bounds.total, rel_tol=1e-12):
        raise ValueError(
            f"The grid (step {quantiser.step}, {quantiser.bits} bits) belongs to a clip bound of "
            f"{quantiser.step * 2**quantiser.bits}, but the bounds have {bounds.total}; make it with "
            "Quantiser.of(bounds)."
        )
    steps = (bounds.group_bound(group) / bounds.total * 2**quantiser.bits for group in bounds.groups)
    return tuple(math.floor(bound * bound) for bound in steps)


def limited_ranges(bounds: ClipBounds, quantiser: Quantiser) -> list[tuple[int, int, int, int]]:
    """Of each group its first slice, where it begins and ends, and its `squared_limits`; no empty group."""
    limits = zip(bounds.groups, squared_limits(bounds, quantiser), strict=True)
    ranges = (
        (group.start, bounds.offsets[group.start], bounds.offsets[group.stop], limit)
        for group, limit in limits
    )
    return [(first, begin, end, limit) for first, begin, end, limit in ranges if begin < end]


def accumulator_dtype(max_count: int, quantiser: Quantiser) -> torch.dtype:
    """The narrowest integer type that holds any sum of ``max_count`` clipped updates without overflow.

    int32 is half as long in memory and on the wire, and so adds twice as fast.
    """
    return torch.int32 if whole(1, max_count=max_count) * 2**quantiser.bits < 2**31 else torch.int64
