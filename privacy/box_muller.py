"""Random words to standard normals, compiled: Box and Muller's formula (1958) with its functions spelled out.

A call of the C library for each logarithm, sine and cosine costs three times as much as the polynomials that
such a library evaluates inside. Written out here, and free of branches, they become vector instructions. They
are the usual ones of float64 arithmetic (the coefficients are those of Sun's fdlibm, 1993), put together more
shortly: their error is at most two and a half units in the last place (the logarithm; sine and cosine one and
a quarter). The tests compare every step with numpy's own functions.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from privacy.kernels import compiled

_MANTISSA_BITS = 52
_SQRT_HALF_BITS = 0x3FE6_A09E_667F_3BCD  # sqrt(1/2), as the bits of a float64
_MAGIC, _MAGIC_BITS = 1.5 * 2.0**52, 0x4338_0000_0000_0000  # what is added below 2**51 stands in its low bits
_WORD_BITS = 64


@intrinsic  # type: ignore[untyped-decorator]  # numba is untyped for us
def _bits(_context: Any, _real: Any) -> Any:
    """A float64's bits as an int64: no instruction at all."""
    return types.int64(types.float64), lambda _, build, __, given: build.bitcast(given[0], ir.IntType(64))


@intrinsic  # type: ignore[untyped-decorator]
def _real(_context: Any, _bits: Any) -> Any:
    """The inverse of `_bits`."""
    return types.float64(types.int64), lambda _, build, __, given: build.bitcast(given[0], ir.DoubleType())


@njit(inline="always")  # type: ignore[untyped-decorator]
def _logarithm(word: int) -> Any:
    """ln(word / 2**64) of an odd uint64: word = 2**k (1 + f) with 1 + f from sqrt(1/2) to sqrt(2).

    ln(1 + f) = 2 s + s R(s**2) with s = f / (2 + f). R is taken in three parts that do not wait for one
    another: it is the chain from word to radius that a core waits for.
    """
    bits = _bits(np.float64(word))
    k = np.int64(np.uint64(bits - _SQRT_HALF_BITS) >> np.uint64(_MANTISSA_BITS))
    f = _real(bits - (k << _MANTISSA_BITS)) - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    low = 6.666666666666735130e-01 + z * 3.999999999940941908e-01
    middle = 2.857142874366239149e-01 + z * 2.222219843214978396e-01
    high = 1.818357216161805012e-01 + z * 1.531383769920937332e-01 + w * 1.479819860510658591e-01
    whole = (_real(k | _MAGIC_BITS) - (_MAGIC + _WORD_BITS)) * math.log(2.0)
    return whole + (s + s) + (s * z) * (low + w * middle + (w * w) * high)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _sine(x: float) -> float:
    """sin x for |x| <= pi / 4."""
    z = x * x
    tail = -1.98412698298579493134e-04 + z * (
        2.75573137070700676789e-06 + z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)
    )
    return x + x * z * (-1.66666666666666324348e-01 + z * (8.33333333332248946124e-03 + z * tail))


@njit(inline="always")  # type: ignore[untyped-decorator]
def _cosine(x: float) -> float:
    """cos x for |x| <= pi / 4."""
    z = x * x
    tail = 2.48015872894767294178e-05 + z * (
        -2.75573143513906633035e-07 + z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11)
    )
    return 1.0 - 0.5 * z + z * z * (4.16666666666666019037e-02 + z * (-1.38888888888741095749e-03 + z * tail))


@njit(inline="always")  # type: ignore[untyped-decorator]
def _pair(radius_word: int, angle_word: int, std: float) -> tuple[float, float]:
    """Two independent normals of this standard deviation, from two uint64.

    Of a radius word 63 bits are U in (0, 1], and the radius is std sqrt(-2 ln U), at most 9.4 std. Of an
    angle word 62 bits are an angle from -pi/4 to pi/4; the other two swap its sine and cosine and turn their
    signs, which makes of the quarter the whole circle.
    """
    radius = std * math.sqrt(-2.0 * _logarithm(radius_word | np.uint64(1)))
    signed = _real(_bits(radius) ^ (np.int64(angle_word & np.uint64(2)) << 62))
    x = (np.float64(angle_word & np.uint64(0xFFFF_FFFF_FFFF_FFFC)) * 2.0**-_WORD_BITS - 0.5) * (math.pi / 2)
    sine, cosine = _sine(x), _cosine(x)
    swap = (angle_word & np.uint64(1)) != 0
    return signed * (sine if swap else cosine), signed * (cosine if swap else sine)


@compiled("contract")
def normals(radius_words: npt.NDArray[Any], angle_words: npt.NDArray[Any], out: Any, std: float) -> None:
    """Fill float64 ``out`` (2, n) with normals of this standard deviation, from two arrays (n,) of uint64."""
    first, second = out[0], out[1]
    for index in range(radius_words.size):
        first[index], second[index] = _pair(radius_words[index], angle_words[index], std)


@compiled("contract")
def add_rounded_normals_(
    radius_words: npt.NDArray[Any], angle_words: npt.NDArray[Any], sums: Any, std: float
) -> None:
    """int64 ``sums`` (2, n) += round(`normals`), in place, for normals below 2**51.

    What is added to `_MAGIC` has no fraction left: the sum is the rounding.
    """
    first, second = sums[0], sums[1]
    for index in range(radius_words.size):
        one, other = _pair(radius_words[index], angle_words[index], std)
        first[index] += _bits(one + _MAGIC) - _MAGIC_BITS
        second[index] += _bits(other + _MAGIC) - _MAGIC_BITS
