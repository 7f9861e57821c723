"""The Golomb-Rice code of integers (Golomb 1966, Rice 1979), block by block.

A number x becomes u = 2x for x >= 0, and u = -2x - 1 for x < 0. The low k bits of u are written as they are,
byte by byte and then bit plane by bit plane. The bits above them are written in unary: u >> k zeros, then a
one.

Guarantee: each block of numbers has exactly one code, and `decode` accepts no other: nothing expands beyond
the expected size, and there are no trailing bits and no second code of the same numbers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from privacy.errors import ReplyRejected

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.signedinteger]
"""int32 or int64."""


def fixed_bytes(count: int, k: int) -> int:
    """The number of bytes of the low k bits of `count` numbers."""
    return k // 8 * count + k % 8 * ((count + 7) // 8)


def encode(numbers: Numbers, k: int, out: Bytes) -> int:
    """Write the code of `numbers` (n,) to the beginning of `out`: the low bits, then the unary part.

    Args:
        numbers: int32 or int64.
        k: the number of low bits.
        out: the bytes to write to, all zeros.

    Returns:
        The number of bytes written.

    Raises:
        ValueError: if `out` is too short.
    """
    from privacy.sums.rice_loops import fold, write  # imported here, because many commands never need it

    count, begin = len(numbers), fixed_bytes(len(numbers), k)
    folded = np.empty(count, dtype=f"u{numbers.itemsize}")
    largest, total = map(int, fold(numbers, folded, k))
    room = 8 * (len(out) - begin)
    if largest >= room or total + count > room:  # below `room`, no sum overflows
        raise ValueError(f"{count} numbers take more than {len(out)} bytes.")
    stream = np.zeros((total + count) // 64 + 1, dtype=np.uint64)
    write(folded, k, out, *_octets(count), stream)
    size = (total + count + 7) // 8
    out[begin : begin + size] = stream.astype(">u8").view(np.uint8)[:size]
    return begin + size


def decode(fixed: Bytes, unary: Bytes, out: Numbers, k: int) -> None:
    """The inverse of `encode`: read the low bits and the unary part, and write the numbers to `out` (n,).

    Raises:
        ReplyRejected: if `encode` returns these bytes for no numbers of this type.
    """
    from privacy.sums.rice_loops import BITS_AFTER, MORE, TOO_LARGE, read, unfold_

    count = len(out)
    padded = np.zeros(len(unary) // 8 + 1, dtype=">u8")
    padded.view(np.uint8)[: len(unary)] = unary
    folded = out.view(f"u{out.itemsize}")
    ends = read(fixed, padded.astype(np.uint64), 8 * len(unary), *_octets(count), folded, k)
    if ends == TOO_LARGE:
        raise ReplyRejected(f"a value is beyond {8 * out.itemsize} bits: the sum was damaged")
    if ends == MORE:
        raise ReplyRejected(f"more follows after the last of {count} values: the sum was damaged")
    if ends == BITS_AFTER:
        raise ReplyRejected(f"bits after the last of {count} values are set: the sum was damaged")
    if ends != count:
        raise ReplyRejected(f"a block of {count} values has {ends} ends: the sum was damaged")
    unfold_(folded)


def _octets(count: int) -> tuple[npt.NDArray[np.uint64], Bytes]:
    """One zero byte per number, in groups of eight: as 64-bit words, and the same memory as bytes."""
    words = np.zeros((count + 7) // 8, dtype="<u8")
    return words, words.view(np.uint8)
