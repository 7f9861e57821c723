"""round(m + std N) of a pair of digit strings, by other means than the sampler's: decimals and Taylor series.

Nothing here is shared with `privacy`: no float64 function, no interval, no mpmath. Logarithm and root are
those of Python's decimal module, correctly rounded by its specification; pi is Machin's formula; sine and
cosine are their series. 160 digits are kept. A tie within 10**-60 is an error, so that no digit beyond those
given matters.
"""

import math
from collections.abc import Sequence
from decimal import Context, Decimal, localcontext

WORD_BITS = 64
_DIGITS = 160
_SMALL = Decimal(10) ** -(_DIGITS + 5)


def reference_pair(
    radius_words: Sequence[int],
    angle_words: Sequence[int],
    std: float,
    centres: tuple[int, int] = (0, 0),
    fraction_bits: int = 0,
) -> tuple[int, int]:
    """Both integers of a pair whose U and V have the digits of these words and then a one (their middle)."""
    with localcontext(Context(prec=_DIGITS, Emax=10**6, Emin=-(10**6))):
        radius = (-2 * _between_0_and_1(radius_words).ln()).sqrt() * Decimal(std)
        cosine, sine = _cosine_and_sine(2 * _pi() * _between_0_and_1(angle_words))
        return (
            _round(Decimal(centres[0]) / 2**fraction_bits + radius * cosine),
            _round(Decimal(centres[1]) / 2**fraction_bits + radius * sine),
        )


def _between_0_and_1(words: Sequence[int]) -> Decimal:
    number = 0
    for word in words:
        number = number << WORD_BITS | word
    return Decimal(2 * number + 1) / Decimal(2) ** (WORD_BITS * len(words) + 1)


def _pi() -> Decimal:
    return 16 * _inverse_tangent(5) - 4 * _inverse_tangent(239)


def _inverse_tangent(inverse: int) -> Decimal:
    """arctan(1 / inverse)."""
    power, total, index = 1 / Decimal(inverse), Decimal(0), 1
    while power > _SMALL:
        total += power / index if index % 4 == 1 else -power / index
        power, index = power / inverse**2, index + 2
    return total


def _cosine_and_sine(angle: Decimal) -> tuple[Decimal, Decimal]:
    sums, term = [Decimal(0), Decimal(0)], Decimal(1)
    index = 0
    while abs(term) > _SMALL:
        sums[index % 2] += term if index % 4 < 2 else -term
        index += 1
        term = term * angle / index
    return sums[0], sums[1]


def _round(value: Decimal) -> int:
    shifted = value + Decimal("0.5")
    below = math.floor(shifted)
    if min(shifted - below, below + 1 - shifted) < Decimal(10) ** -60:
        raise ValueError(f"Expected a number away from a half, got {value}: give more digits.")
    return below
