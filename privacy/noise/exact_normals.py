"""Rounded normals by interval arithmetic: slow, and correct for every pair of random words.

This module is the definition of what `privacy.noise.rounded_normals` computes fast. That module calls this
one for the pairs that float64 does not settle.
"""

from collections.abc import Callable
from typing import Any

from mpmath import libmp
from mpmath.ctx_iv import MPIntervalContext

WORD_BITS = 64


class ExactNormals:
    """Pairs round(m + std N), round(m' + std N') for independent standard normals N and N'.

    Guarantee:
        Let U and V be the numbers in [0, 1] whose binary digits are a radius word and an angle word, each
        followed by the endless digits that `more_words` returns. By Box and Muller (1958)

            N = sqrt(-2 ln U) cos(2 pi V)    and    N' = sqrt(-2 ln U) sin(2 pi V)

        are independent standard normals if these digits are independent fair coins. The two integers are
        exactly those of this N and N'. Digits are drawn until both integers are settled. An exact tie would
        never be settled; its probability is 0.

        Assumption about mpmath: with 2 b + 64 bits the ends of the interval of std N are correct to
        std 2**-b, where b is the number of digits. More than half of its bits may be wrong.

    Example:
        >>> normals = ExactNormals(more_words=lambda: (0, 0))
        >>> normals.pair(radius=2**63, angle=0, std=100.0, centres=(0, 0))  # U = 1/2, V = 0: sqrt(2 ln 2)
        (118, 0)
    """

    def __init__(self, more_words: Callable[[], tuple[int, int]]) -> None:
        self._more_words = more_words
        self._intervals: Any = MPIntervalContext()  # its own one, because its precision is changed

    def pair(
        self, radius: int, angle: int, std: float, centres: tuple[int, int], fraction_bits: int = 0
    ) -> tuple[int, int]:
        """Both integers of one pair.

        Args:
            radius: the first 64 digits of U, as an integer.
            angle: the first 64 digits of V, as an integer.
            std: the standard deviation; the float counts as the exact number that it is.
            centres: m and m' in units of 2**-fraction_bits.
            fraction_bits: the number of binary places of the centres.
        """
        digits = WORD_BITS
        while True:
            if radius:  # if 0, U can still be arbitrarily near to 0, and N arbitrarily large
                normals = self._enclosures(radius, angle, digits, std)
                (low, high), (other_low, other_high) = (
                    _rounded(self._intervals.mpf(centre) / 2**fraction_bits + normal)
                    for centre, normal in zip(centres, normals, strict=True)
                )
                if low == high and other_low == other_high:
                    return low, other_low
            more_radius, more_angle = self._more_words()
            radius, angle = radius << WORD_BITS | more_radius, angle << WORD_BITS | more_angle
            digits += WORD_BITS

    def _enclosures(self, radius: int, angle: int, digits: int, std: float) -> tuple[Any, Any]:
        """Intervals that contain std N and std N' for all digits that may follow."""
        intervals = self._intervals
        intervals.prec = 2 * digits + 64
        u = intervals.mpf([radius, radius + 1]) / 2**digits
        turn = 2 * intervals.pi * intervals.mpf([angle, angle + 1]) / 2**digits
        length = std * intervals.sqrt(-2 * intervals.log(u))
        margin = std * intervals.mpf([-1, 1]) / 2**digits
        return length * intervals.cos(turn) + margin, length * intervals.sin(turn) + margin


def _rounded(interval: Any) -> tuple[int, int]:
    """floor(x + 1/2) at both ends."""
    low, high = (interval + 0.5)._mpi_
    return libmp.to_int(low, libmp.round_floor), libmp.to_int(high, libmp.round_floor)
