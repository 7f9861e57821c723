"""Compiled loops of `privacy.sums.rice`. All but those over the unary part become vector instructions.

The k low bits of a number are stored as whole bytes, byte by byte, and the k % 8 bits above them as bit
planes: a byte of a plane has one bit of each of eight numbers, the first number at the top. Eight such bytes,
plane p at place 7 - p, are a word of 8 x 8 bits. Transposed about a diagonal, each of its bytes has the bits
of one number.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from privacy.kernels import compiled

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.signedinteger]
Folded = npt.NDArray[np.unsignedinteger]

TOO_LARGE, MORE, BITS_AFTER = -1, -2, -3
_WORD = 64


@intrinsic  # type: ignore[untyped-decorator]  # numba is untyped for us
def _leading_zeros(_context: Any, _word: Any) -> Any:
    """The number of zero bits above the highest one of a uint64; 64 for zero."""
    defined_for_zero = ir.Constant(ir.IntType(1), 0)
    return types.int64(types.uint64), lambda _, build, __, given: build.ctlz(given[0], defined_for_zero)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _turned(x: Any) -> Any:
    """Transpose: bit c of byte r becomes bit 7 - r of byte 7 - c, by swapping blocks of 4, 2 and 1 bits.

    (Warren, Hacker's Delight, 7-3. Two transpositions restore the word.)
    """
    t = x ^ (x << np.uint64(36))
    x ^= np.uint64(0xF0F0F0F00F0F0F0F) & (t ^ (x >> np.uint64(36)))
    t = np.uint64(0xCCCC0000CCCC0000) & (x ^ (x << np.uint64(18)))
    x ^= t ^ (t >> np.uint64(18))
    t = np.uint64(0xAA00AA00AA00AA00) & (x ^ (x << np.uint64(9)))
    return x ^ t ^ (t >> np.uint64(9))


@compiled()
def fold(numbers: Numbers, folded: Folded, k: int) -> tuple[Any, Any]:
    """Compute u = 2x or -2x - 1 of every x; returns the largest u >> k, and their sum modulo 2**64."""
    largest, total = np.uint64(0), np.uint64(0)
    for index in range(numbers.size):
        number = np.int64(numbers[index])
        u = np.uint64((number << 1) ^ (number >> 63))
        folded[index] = u
        high = u >> np.uint64(k)
        largest = max(largest, high)
        total += high
    return largest, total


@compiled()
def write(folded: Folded, k: int, fixed: Bytes, words: Words, lows: Bytes, stream: Words) -> None:
    """Write the low k bits of every number to `fixed`, and the bits above them in unary to `stream`.

    Args:
        folded: the numbers u.
        k: the number of low bits.
        fixed: bytes for the low bits.
        words: one zero byte per number, as 64-bit words.
        lows: the same memory as bytes.
        stream: zeros for the unary part.
    """
    count, octets, whole_bytes, planes = folded.size, words.size, k // 8, k % 8
    for byte in range(whole_bytes):
        row = fixed[byte * count : (byte + 1) * count]
        for index in range(count):
            row[index] = np.uint8(folded[index] >> np.uint64(8 * byte))
    if planes:
        for index in range(count):
            lows[index] = np.uint8(folded[index] >> np.uint64(8 * whole_bytes))
        for octet in range(octets):
            words[octet] = _turned(words[octet])
        rows = fixed[whole_bytes * count :]
        for plane in range(planes):
            row = rows[plane * octets : (plane + 1) * octets]
            for octet in range(octets):
                row[octet] = np.uint8(words[octet] >> np.uint64(56 - 8 * plane))
    position, place, word = 0, 0, np.uint64(0)
    for index in range(count):
        position += int(np.int64(folded[index] >> np.uint64(k)))
        if position >> 6 != place:
            stream[place] = word
            place, word = position >> 6, np.uint64(0)
        word |= np.uint64(1 << 63) >> np.uint64(position & 63)
        position += 1
    stream[place] = word


@compiled()
def read(fixed: Bytes, stream: Words, bits: int, words: Words, lows: Bytes, folded: Folded, k: int) -> int:
    """The inverse of `write`: read the numbers u into `folded`.

    `bits` is the length of the unary part in `stream`, which zeros fill up. Other arguments as for `write`.

    Returns:
        The number of values that end within the stream, or `TOO_LARGE`, `MORE` or `BITS_AFTER`.
    """
    count, octets, whole_bytes, planes = folded.size, words.size, k // 8, k % 8
    too_large_half = np.uint64(1) << np.uint64(8 * folded.itemsize - 1 - k)  # twice this does not fit
    window, unread, place = np.uint64(0), 0, 0  # the next bits (at the top), their number, the next word
    for index in range(count):
        high = zeros = _leading_zeros(window)
        if zeros >= unread:
            high = unread
            window = np.uint64(0)
            while window == 0:
                if place == stream.size:
                    return index
                window = stream[place]
                zeros = _leading_zeros(window)
                high += zeros
                place += 1
            unread = _WORD
        window = (window << np.uint64(zeros)) << np.uint64(1)
        unread -= zeros + 1
        if np.uint64(high) >> np.uint64(1) >= too_large_half:
            return TOO_LARGE
        folded[index] = np.uint64(high) << np.uint64(k)
    if bits - (_WORD * place - unread) >= 8 or window != 0:
        return MORE
    for rest in range(place, stream.size):
        if stream[rest] != 0:
            return MORE
    for byte in range(whole_bytes):
        row = fixed[byte * count : (byte + 1) * count]
        for index in range(count):
            folded[index] |= np.uint64(row[index]) << np.uint64(8 * byte)
    if planes:
        rows = fixed[whole_bytes * count :]
        for plane in range(planes):
            row = rows[plane * octets : (plane + 1) * octets]
            if count & 7 and row[octets - 1] & (255 >> (count & 7)):
                return BITS_AFTER
            for octet in range(octets):
                words[octet] |= np.uint64(row[octet]) << np.uint64(56 - 8 * plane)
        for octet in range(octets):
            words[octet] = _turned(words[octet])
        for index in range(count):
            folded[index] |= np.uint64(lows[index]) << np.uint64(8 * whole_bytes)
    return count


@compiled()
def unfold_(folded: Folded) -> None:
    """Replace every u by its x, in place, as the bits of the signed type."""
    for index in range(folded.size):
        u = np.uint64(folded[index])
        folded[index] = (u >> np.uint64(1)) ^ (np.uint64(0) - (u & np.uint64(1)))
