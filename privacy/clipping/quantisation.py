"""Integer quantisation: sums are exact in any order, and rounding cannot break a bound.

A clipped update is rounded to multiples of ``step = C / 2**bits`` (`privacy.clipping.quantised_clipping`).
From there on updates are integers. Their sum does not depend on the order of replies, and it is small on the
wire. The noise is rounded too, so the released values are multiples of a step that does not depend on the
data (the last bits of a float sum would leak).
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
    """The quantisation of released values: multiples of ``step``; ``2**bits`` steps are the clip bound C.

    Make one with `Quantiser.of`. In units of steps the L2 sensitivity is exactly ``2**bits``, so noise of
    multiplier z has a standard deviation of ``z * 2**bits`` steps (`noise_std_steps`).

    Args:
        step: one quantisation step, in the units of the update.
        bits: from 1 to 24.

    Example:
        >>> quantiser = Quantiser.of(ClipBounds(offsets=(0, 3), bounds=(0.5,)), bits=10)
        >>> quantiser.step, quantiser.noise_std_steps(2.0)
        (0.00048828125, 2048.0)
    """

    step: float
    bits: int = 20

    def __post_init__(self) -> None:
        positive(step=self.step)
        if not 1 <= whole(bits=self.bits) <= _MAX_BITS:
            raise ValueError(f"Expected 1 <= bits <= {_MAX_BITS}, got bits={self.bits}.")

    @classmethod
    def of(cls, bounds: ClipBounds, bits: int = 20) -> "Quantiser":
        """The quantiser whose step is C / 2**bits.

        Raises:
            ValueError: if C is outside [1e-30, 1e30], or if a slice's bound does not exceed its rounding
                margin: then only zero would be sure to stay within that bound.
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
                    f"{margin:.3g} of {bits} quantisation bits: use at least {enough} bits (at most "
                    f"{_MAX_BITS}), a higher bound for this slice, or fewer slices."
                )
        return quantiser

    def margin(self, size: int) -> float:
        """The largest increase of a norm by rounding a vector of ``size`` values to whole steps."""
        return self.step * math.sqrt(size) / 2

    def noise_std_steps(self, noise_multiplier: float) -> float:
        """The standard deviation, in steps, of noise of multiplier z: z C / step."""
        return noise_multiplier * 2.0**self.bits


@lru_cache(maxsize=64)
def squared_limits(bounds: ClipBounds, quantiser: Quantiser) -> tuple[int, ...]:
    """The largest squared norm, in steps, that each group of one update may have: integers.

    Guarantee:
        They add up to at most ``4**bits``, the square of C in steps.

    Raises:
        ValueError: if the quantiser was made for other bounds.
    """
    if not math.isclose(quantiser.step * 2**quantiser.bits, bounds.total, rel_tol=1e-12):
        raise ValueError(
            f"The quantiser (step {quantiser.step}, {quantiser.bits} bits) belongs to a clip bound of "
            f"{quantiser.step * 2**quantiser.bits}, but the bounds have {bounds.total}; make it with "
            "Quantiser.of(bounds)."
        )
    steps = (bounds.group_bound(group) / bounds.total * 2**quantiser.bits for group in bounds.groups)
    return tuple(math.floor(bound * bound) for bound in steps)


def limited_ranges(bounds: ClipBounds, quantiser: Quantiser) -> list[tuple[int, int, int, int]]:
    """Each group that is not empty: its first slice, its begin and end, and its limit of `squared_limits`."""
    limits = zip(bounds.groups, squared_limits(bounds, quantiser), strict=True)
    ranges = (
        (group.start, bounds.offsets[group.start], bounds.offsets[group.stop], limit)
        for group, limit in limits
    )
    return [(first, begin, end, limit) for first, begin, end, limit in ranges if begin < end]


def accumulator_dtype(max_count: int, quantiser: Quantiser) -> torch.dtype:
    """The shortest integer type that holds every sum of ``max_count`` clipped updates without overflow.

    int32 takes half the memory and half the bytes on the wire, and adds twice as fast.
    """
    return torch.int32 if whole(1, max_count=max_count) * 2**quantiser.bits < 2**31 else torch.int64
