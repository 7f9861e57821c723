"""Random words to standard normals, compiled: Box and Muller's formula (1958) with its functions spelled out.

A call of the C library for each logarithm, sine and cosine costs three times as much as the polynomials that
such a library evaluates inside. Written out here, and free of branches, they become vector instructions. Both
are the usual ones of float64 arithmetic (the coefficients are those of Sun's fdlibm, 1993), whose error is
below one unit in the last place; the tests compare every step with numpy's own functions.
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


@intrinsic  # type: ignore[untyped-decorator]  # numba is untyped for us
def _bits(_context: Any, _real: Any) -> Any:
    """A float64's bits as an int64: no instruction at all."""
    return types.int64(types.float64), lambda _, build, __, given: build.bitcast(given[0], ir.IntType(64))


@intrinsic  # type: ignore[untyped-decorator]
def _real(_context: Any, _bits: Any) -> Any:
    """The inverse of `_bits`."""
    return types.float64(types.int64), lambda _, build, __, given: build.bitcast(given[0], ir.DoubleType())


@njit(inline="always")  # type: ignore[untyped-decorator]
def _logarithm(u: float) -> Any:
    """ln u of a normal float64 u > 0: u = 2**k (1 + f) with 1 + f from sqrt(1/2) to sqrt(2)."""
    bits = _bits(u)
    k = (bits - _SQRT_HALF_BITS) >> _MANTISSA_BITS
    f = _real(bits - (k << _MANTISSA_BITS)) - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    odd = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01))
    even = z * (
        6.666666666666735130e-01
        + w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01))
    )
    half = 0.5 * f * f
    return (_real(k + _MAGIC_BITS) - _MAGIC) * math.log(2.0) - ((half - s * (half + odd + even)) - f)


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


@compiled("contract")
def normals(radius_words: npt.NDArray[Any], angle_words: npt.NDArray[Any], out: Any, std: float) -> None:
    """Fill float64 ``out`` (2, n) with normals of this standard deviation, from two arrays (n,) of uint64.

    Of a radius word 63 bits are U in (0, 1], and the radius is std sqrt(-2 ln U), at most 9.4 std. Of an
    angle word 62 bits are an angle from -pi/4 to pi/4; the other two swap its sine and cosine and turn their
    signs, which makes of the quarter the whole circle.
    """
    for index in range(radius_words.size):
        u = (np.float64(radius_words[index] >> np.uint64(1)) + 0.5) * 2.0**-63
        radius = std * math.sqrt(-2.0 * _logarithm(u))
        word = angle_words[index]
        x = (np.float64(word >> np.uint64(2)) * 2.0**-62 - 0.5) * (math.pi / 2)
        sine, cosine = _sine(x), _cosine(x)
        swap = (word & np.uint64(1)) != 0
        sign = np.int64(word & np.uint64(2)) << 62
        out[0, index] = _real(_bits(radius * (sine if swap else cosine)) ^ sign)
        out[1, index] = _real(_bits(radius * (cosine if swap else sine)) ^ sign)


@compiled()
def add_rounded_(sums: npt.NDArray[np.int64], reals: npt.NDArray[np.float64]) -> None:
    """sums += round(reals), in place, for reals below 2**51: added to `_MAGIC` they have no fraction."""
    for index in range(sums.size):
        sums[index] += _bits(reals[index] + _MAGIC) - _MAGIC_BITS
