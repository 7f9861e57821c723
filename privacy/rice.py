"""The Golomb-Rice code of whole numbers (Golomb 1966, Rice 1979), a block of them at a time.

A number x becomes u = 2x for x >= 0 and -2x - 1 below. The low k bits of u are written as they are, byte by
byte and then bit plane by bit plane; what is above them in unary: so many zeros, then a one. Each block of
numbers has exactly one code, and `decode` takes no other: no bomb, no trailing bits, no second spelling.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from privacy.errors import ReplyRejected

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.signedinteger]
"""int32 or int64."""

_UNSIGNED = {4: np.uint32, 8: np.uint64}


def fixed_bytes(count: int, k: int) -> int:
    """How many bytes the low k bits of `count` numbers take."""
    return k // 8 * count + k % 8 * _bytes_of(count)


def encode(numbers: Numbers, k: int) -> tuple[list[Bytes], Bytes]:
    """The pieces of `numbers` (n,): those of the low k bits, `fixed_bytes` together, and the unary part."""
    bits = 8 * numbers.itemsize
    folded = ((numbers << 1) ^ (numbers >> (bits - 1))).view(_UNSIGNED[numbers.itemsize])
    low = [(folded >> (8 * byte)).astype(np.uint8) for byte in range((k + 7) // 8)]
    planes = [np.packbits(low[-1] & np.uint8(1 << bit)) for bit in range(k % 8)]
    high = (folded >> k).astype(np.int64)
    ends = np.cumsum(high) + np.arange(len(numbers))
    unary = np.zeros(ends[-1] + 1, dtype=np.bool_)
    unary[ends] = True
    return [*low[: k // 8], *planes], np.packbits(unary)


def decode(fixed: Bytes, unary: Bytes, out: Numbers, k: int) -> None:
    """The inverse of `encode` into `out` (n,); `fixed` has the pieces of the low bits, joined.

    Raises
    ------
    ReplyRejected
        If `encode` gives these bytes for no numbers of this type.
    """
    count, bits = len(out), 8 * out.itemsize
    ends = np.flatnonzero(np.unpackbits(unary).view(np.bool_))
    if len(ends) != count or 8 * len(unary) - ends[-1] > 8:
        raise ReplyRejected(
            f"a block of {count} values has {len(ends)} ends, or bytes after its last: it was damaged"
        )
    high = ends.copy()
    high[1:] -= ends[:-1] + 1
    if int(high.max()) >> (bits - k):
        raise ReplyRejected(f"a value is beyond {bits} bits: the sum was damaged")
    folded = high.astype(_UNSIGNED[out.itemsize])
    folded <<= k
    for byte in range(k // 8):
        folded |= fixed[byte * count : (byte + 1) * count].astype(folded.dtype) << (8 * byte)
    if k % 8:
        folded |= _low_bits(fixed[k // 8 * count :], count, k % 8).astype(folded.dtype) << (k // 8 * 8)
    np.bitwise_xor(folded >> 1, -(folded & 1), out=out.view(folded.dtype))


def _low_bits(planes: Bytes, count: int, k: int) -> Bytes:
    """The numbers (count,) below 2**k whose bit planes these are, lowest first."""
    size = _bytes_of(count)
    values = np.zeros(count, dtype=np.uint8)
    for bit in range(k):
        plane = np.unpackbits(planes[bit * size : (bit + 1) * size])
        if plane[count:].any():
            raise ReplyRejected(f"bits after the last of {count} values are set: the sum was damaged")
        values |= plane[:count] << bit
    return values


def _bytes_of(bits: int) -> int:
    return (bits + 7) // 8
