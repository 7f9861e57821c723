"""Rounded normals from random words, many at a time: by float64 where it settles them, else exactly.

**Why the result is exact.** `ExactNormals` defines the integer round(m + y), y = std N, of a pair of words.
Here torch computes y with its logarithm, root, sine and cosine. Suppose that the computed m + y is within e
of the true value, *for all digits that may follow the two words*, and that no half-integer is within e of it.
Then both round to the same integer. If a value of a pair is nearer to a half-integer, the pair goes to
`ExactNormals`: one pair in 260,000 at 2**20 steps. So does a pair with U < 2**-22 or U >= 1 - 2**-22, where
the bound below does not hold.

**The bound e = 2**-40 std + 2**-45.** Under these conditions R = sqrt(-2 ln U) is from 2**-10.5 to 5.53.
Assumptions about torch: the relative error of the logarithm and the absolute errors of sine and cosine are at
most 2**-45 (at least 128 units in the last place; torch keeps to 2, and a test checks for 4). IEEE 754
guarantees far less error of a root than the 2**-45 taken here. The terms, in units of 2**-43 std:

    U: digits after 63, rounding to 53        (2**-63 / U + 2**-53) / R         at most 1.42
    logarithm; the root halves its error      2**-46 R                          0.70
    root                                      2**-45 R                          1.39
    sine or cosine                            2**-45 R                          1.39
    angle: digits after 64, pi, roundings     2**-49 R                          0.09
    products with the std and of both         2**-51 R                          0.03

Together they are less than 5.1 of these units, and 2**-40 std is 8. The 2**-45 covers, with more room, the
sum m + y (its rounding error is at most 2**-53 of it), the rounding of 1/2 - e, and underflow where std is
tiny. The difference between m + y and the nearest integer has no error: both are multiples of the last place
of m + y.
"""

import math
from collections.abc import Callable

import numba
import numpy as np
import numpy.typing as npt
import torch

from privacy.noise.exact_normals import ExactNormals

_EDGE_BITS = 22  # U is at least 2**-22 from 0 and from 1, or its pair is unsettled
_TOP = np.uint64(64 - _EDGE_BITS)
_LAST = np.uint64(2**_EDGE_BITS - 1)
_ONE = np.uint64(1)

Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Reals = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class RoundedNormals:
    """Adds rounded normals to integers, with scratch memory for `pairs` pairs.

    Guarantee:
        The integers are those of `ExactNormals` for the same words and further digits, bit for bit.

    Example:
        >>> values = np.zeros((2, 1), dtype=np.int64)
        >>> words = np.array([[2**63], [2**60]], dtype=np.uint64)  # U = 1/2, V = 1/16
        >>> normals = RoundedNormals(pairs=1, more_words=lambda: (0, 0))
        >>> normals.add_(values, words, std=100.0), values.ravel().tolist()
        (0, [109, 45])
    """

    def __init__(self, pairs: int, more_words: Callable[[], tuple[int, int]]) -> None:
        self._exact = ExactNormals(more_words)
        self._reals = np.empty(4 * pairs)
        self._unsettled = np.empty(pairs, dtype=np.bool_)

    def add_(self, values: Integers, words: Words, std: float, fraction_bits: int = 0) -> int:
        """values = round(values / 2**fraction_bits + std N), in place and modulo 2**64.

        Args:
            values: int64, shape (2, n), contiguous, n at most `pairs`.
            words: uint64, shape (2, n), contiguous: the radius words and the angle words.
            std: the standard deviation.
            fraction_bits: 0 for integers; up to 32 for numbers with binary places.

        Returns:
            The number of pairs that float64 did not settle.
        """
        pairs = words.shape[1]
        u, angle, cosine, sine = self._reals[: 4 * pairs].reshape(4, pairs)
        unsettled = self._unsettled[:pairs]
        _to_reals(words, u, angle, unsettled)
        logarithm = torch.from_numpy(u).log_().numpy()
        torch.cos(torch.from_numpy(angle), out=torch.from_numpy(cosine))
        torch.sin(torch.from_numpy(angle), out=torch.from_numpy(sine))
        _round_settled_(values, logarithm, cosine, sine, unsettled, std, fraction_bits)
        remaining = np.flatnonzero(unsettled)
        for pair in remaining.tolist():
            self._settle_exactly_(values[:, pair], words[:, pair], std, fraction_bits)
        return len(remaining)

    def _settle_exactly_(self, values: Integers, words: Words, std: float, fraction_bits: int) -> None:
        """`add_` for one pair by `ExactNormals`; both arrays have shape (2,)."""
        (radius, angle), (first, second) = words.tolist(), values.tolist()
        integers = self._exact.pair(radius, angle, std, (first, second), fraction_bits)
        values[:] = np.array([integer % 2**64 for integer in integers], dtype=np.uint64).view(np.int64)


@numba.njit(error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]  # numba is untyped for us
def _to_reals(words: Words, u: Reals, angle: Reals, unsettled: Flags) -> None:
    """Make U in (0, 1) and 2 pi V from -pi to pi of words (2, n); unsettled where U is near 0 or 1."""
    for pair in range(u.size):
        top = words[0, pair] >> _TOP
        edge = (top == 0) | (top == _LAST)
        unsettled[pair] = edge
        u[pair] = 0.5 if edge else np.int64(words[0, pair] >> _ONE) * 2.0**-63
        angle[pair] = np.int64(words[1, pair]) * (math.pi * 2.0**-63)


@numba.njit(error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]
def _round_settled_(
    values: Integers,
    logarithm: Reals,
    cosine: Reals,
    sine: Reals,
    unsettled: Flags,
    std: float,
    fraction_bits: int,
) -> None:
    """values (2, n) = round(values / 2**fraction_bits + std N), in place, where float64 settles the pair."""
    places, unit = (1 << fraction_bits) - 1, 2.0**-fraction_bits
    clear = 0.5 - (2.0**-40 * std + 2.0**-45)
    first, second = values[0], values[1]
    for pair in range(logarithm.size):
        radius = std * math.sqrt(-2.0 * logarithm[pair])
        one = (first[pair] & places) * unit + radius * cosine[pair]
        other = (second[pair] & places) * unit + radius * sine[pair]
        nearest, other_nearest = np.rint(one), np.rint(other)
        near = (abs(one - nearest) < clear) & (abs(other - other_nearest) < clear)
        settled = near & (not unsettled[pair])
        one_rounded = (first[pair] >> fraction_bits) + np.int64(nearest)
        other_rounded = (second[pair] >> fraction_bits) + np.int64(other_nearest)
        first[pair] = one_rounded if settled else first[pair]
        second[pair] = other_rounded if settled else second[pair]
        unsettled[pair] = not settled
