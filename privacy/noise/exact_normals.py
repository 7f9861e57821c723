"""Rounded normals by interval arithmetic: slow, and right for every pair of random words.

This is the definition of what `privacy.noise.rounded_normals` computes fast, and what it asks where it is in
doubt.
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
        followed without end by what `more_words` gives. By Box and Muller (1958)

            N = sqrt(-2 ln U) cos(2 pi V)    and    N' = sqrt(-2 ln U) sin(2 pi V)

        are independent standard normals if those digits are independent fair coins. The two integers are
        exactly those of these N and N'. Digits are drawn until both are settled: an exact tie, where they
        never would be, has probability 0.

        Assumed of mpmath: with 2 b + 64 bits the ends of std N's interval are right to std 2**-b, b the
        number of digits. More than half of its bits may be wrong.
    """

    def __init__(self, more_words: Callable[[], tuple[int, int]]) -> None:
        self._more_words = more_words
        self._intervals: Any = MPIntervalContext()  # its own, for its precision is changed

    def pair(
        self, radius: int, angle: int, std: float, centres: tuple[int, int], fraction_bits: int = 0
    ) -> tuple[int, int]:
        """Both integers of one pair.

        Args:
            radius, angle: the first 64 digits of U and of V, as whole numbers.
            std: the standard deviation; the float is taken as the exact number that it is.
            centres: m and m' in units of 2**-fraction_bits.
        """
        digits = WORD_BITS
        while True:
            if radius:  # if 0, U may still be as near to 0 as it likes, and N of any size
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
        """The intervals in which std N and std N' lie, whatever digits follow."""
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
