"""The Golomb-Rice code of whole numbers (Golomb 1966, Rice 1979), a block of them at a time.

A number x becomes u = 2x for x >= 0 and -2x - 1 below. The low k bits of u are written as they are, byte by
byte and then bit plane by bit plane; what is above them in unary: so many zeros, then a one. Each block of
numbers has exactly one code, and `decode` takes no other: no bomb, no trailing bits, no second spelling.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from privacy.errors import ReplyRejected
from privacy.kernels import compiled

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.signedinteger]
"""int32 or int64."""

_TRANSPOSE = ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0))
"""Shifts and masks that make columns of a word's 8 rows of 8 bits (Warren, Hacker's Delight, 7-3)."""

_NO_ROOM, _TOO_LARGE, _MORE, _BITS_AFTER = -1, -2, -3, -4


def fixed_bytes(count: int, k: int) -> int:
    """How many bytes the low k bits of `count` numbers take."""
    return k // 8 * count + k % 8 * ((count + 7) // 8)


def encode(numbers: Numbers, k: int, out: Bytes) -> int:
    """Write `numbers` (n,) to the beginning of `out`, all zeros: `fixed_bytes` and the unary part.

    Returns how many bytes that took. Raises `ValueError` if they are not there.
    """
    size = int(_encode(numbers, k, out))
    if size == _NO_ROOM:
        raise ValueError(f"{len(numbers)} numbers take more than {len(out)} bytes.")
    return size


def decode(fixed: Bytes, unary: Bytes, out: Numbers, k: int) -> None:
    """The inverse of `encode` into `out` (n,), from its two parts.

    Raises
    ------
    ReplyRejected
        If `encode` gives these bytes for no numbers of this type.
    """
    count = len(out)
    ends = int(_decode(fixed, unary, out, k))
    if ends == _TOO_LARGE:
        raise ReplyRejected(f"a value is beyond {8 * out.itemsize} bits: the sum was damaged")
    if ends == _MORE:
        raise ReplyRejected(f"more follows after the last of {count} values: the sum was damaged")
    if ends == _BITS_AFTER:
        raise ReplyRejected(f"bits after the last of {count} values are set: the sum was damaged")
    if ends != count:
        raise ReplyRejected(f"a block of {count} values has {ends} ends: the sum was damaged")


@compiled()
def _encode(numbers: Numbers, k: int, out: Bytes) -> int:
    """The bytes taken, or _NO_ROOM. Eight numbers at a time, whose planes are one word, transposed."""
    count, whole_bytes, planes = numbers.size, k // 8, k % 8
    plane_size = (count + 7) // 8
    first_plane = whole_bytes * count
    unary = first_plane + planes * plane_size
    if unary > out.size:
        return _NO_ROOM
    room = np.uint64(8 * (out.size - unary))
    end = 0
    for octet in range(plane_size):
        word = np.uint64(0)
        for index in range(8 * octet, min(count, 8 * octet + 8)):
            number = np.int64(numbers[index])
            folded = np.uint64((number << 1) ^ (number >> 63))
            for byte in range(whole_bytes):
                out[byte * count + index] = np.uint8((folded >> np.uint64(8 * byte)) & np.uint64(255))
            low = (folded >> np.uint64(8 * whole_bytes)) & np.uint64(255)
            word |= low << np.uint64(56 - 8 * (index & 7))
            high = folded >> np.uint64(k)
            if high >= room - np.uint64(end):
                return _NO_ROOM
            end += int(high)
            out[unary + (end >> 3)] |= np.uint8(128 >> (end & 7))
            end += 1
        for shift, mask in _TRANSPOSE:
            swapped = (word ^ (word >> np.uint64(shift))) & np.uint64(mask)
            word ^= swapped ^ (swapped << np.uint64(shift))
        for plane in range(planes):
            bits = (word >> np.uint64(8 * plane)) & np.uint64(255)
            out[first_plane + plane * plane_size + octet] = np.uint8(bits)
    return unary + ((end + 7) >> 3)


@compiled()
def _decode(fixed: Bytes, unary: Bytes, out: Numbers, k: int) -> int:
    """How many numbers end in `unary`, `count` if all is well; or what else is wrong."""
    count, whole_bytes, planes = out.size, k // 8, k % 8
    plane_size = (count + 7) // 8
    first_plane = whole_bytes * count
    too_large_half = np.uint64(1) << np.uint64(8 * out.itemsize - 1 - k)  # its double may not fit
    end, size = 0, 8 * unary.size
    for octet in range(plane_size):
        word = np.uint64(0)
        for plane in range(planes):
            bits = np.uint64(fixed[first_plane + plane * plane_size + octet])
            word |= bits << np.uint64(8 * plane)
        for shift, mask in _TRANSPOSE:
            swapped = (word ^ (word >> np.uint64(shift))) & np.uint64(mask)
            word ^= swapped ^ (swapped << np.uint64(shift))
        for index in range(8 * octet, min(count, 8 * octet + 8)):
            begin = end
            while end < size and not (unary[end >> 3] >> (7 - (end & 7))) & 1:
                end += 1
            if end == size:
                return index
            high = np.uint64(end - begin)
            end += 1
            if high >> np.uint64(1) >= too_large_half:
                return _TOO_LARGE
            low = (word >> np.uint64(56 - 8 * (index & 7))) & np.uint64(255)
            for byte in range(whole_bytes - 1, -1, -1):
                low = (low << np.uint64(8)) | np.uint64(fixed[byte * count + index])
            folded = (high << np.uint64(k)) | low
            out[index] = np.int64(folded >> np.uint64(1)) ^ -np.int64(folded & np.uint64(1))
    if size - end >= 8 or (end < size and unary[end >> 3] & (255 >> (end & 7))):
        return _MORE
    for plane in range(planes):
        if count & 7 and fixed[first_plane + (plane + 1) * plane_size - 1] & (255 >> (count & 7)):
            return _BITS_AFTER
    return count
