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

from privacy.kernels import add_, compiled, inner, take_back_
from privacy.sums.rice_blocks import (
    BEGIN,
    END,
    LENGTH_BYTES,
    LOW_BITS,
    MOST_UNARY,
    ROOM,
    Bytes,
    Numbers,
    fixed_bytes,
)

Words = npt.NDArray[np.uint64]
Folded = npt.NDArray[np.unsignedinteger]
Table = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

DONE, TOO_LARGE, MORE, BITS_AFTER, TOO_LONG, TOO_FEW, BEYOND = range(-1, -8, -1)
_WORD = 64


_add_ = inner("reassoc")(add_)
_take_back_ = inner()(take_back_)
_fixed_bytes = inner()(fixed_bytes)


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


@inner()
def _fold(numbers: Numbers, folded: Folded, k: int) -> tuple[Any, Any]:
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


@inner()
def _write_lows(folded: Folded, k: int, fixed: Bytes, words: Words, lows: Bytes) -> None:
    """Write the low k bits of every number to `fixed`. `words` is scratch, and `lows` the same memory."""
    count, octets, whole_bytes, planes = folded.size, (folded.size + 7) // 8, k // 8, k % 8
    for byte in range(whole_bytes):
        row = fixed[byte * count : (byte + 1) * count]
        for index in range(count):
            row[index] = np.uint8(folded[index] >> np.uint64(8 * byte))
    if planes:
        words[octets - 1] = np.uint64(0)
        for index in range(count):
            lows[index] = np.uint8(folded[index] >> np.uint64(8 * whole_bytes))
        for octet in range(octets):
            words[octet] = _turned(words[octet])
        rows = fixed[whole_bytes * count :]
        for plane in range(planes):
            row = rows[plane * octets : (plane + 1) * octets]
            for octet in range(octets):
                row[octet] = np.uint8(words[octet] >> np.uint64(56 - 8 * plane))


@inner()
def _write_highs(folded: Folded, k: int, stream: Words) -> None:
    """Write the bits above the low ones in unary; what is in `stream` before does not matter."""
    position, place, word = 0, 0, np.uint64(0)
    for index in range(folded.size):
        position += int(np.int64(folded[index] >> np.uint64(k)))
        if position >> 6 != place:
            stream[place] = word
            for between in range(place + 1, position >> 6):
                stream[between] = np.uint64(0)
            place, word = position >> 6, np.uint64(0)
        word |= np.uint64(1 << 63) >> np.uint64(position & 63)
        position += 1
    stream[place] = word


@inner()
def _to_bytes(stream: Words, out: Bytes) -> None:
    """Write the words, the highest byte first, to fill `out`."""
    whole = out.size // 8
    for place in range(whole):
        word, begin = stream[place], 8 * place
        for byte in range(8):
            out[begin + byte] = np.uint8(word >> np.uint64(56 - 8 * byte))
    for byte in range(out.size - 8 * whole):
        out[8 * whole + byte] = np.uint8(stream[whole] >> np.uint64(56 - 8 * byte))


@inner()
def _from_bytes(unary: Bytes, stream: Words) -> None:
    """The inverse of `_to_bytes`; zeros fill up the last word, which is there even if it has no byte."""
    whole = unary.size // 8
    for place in range(whole):
        word, begin = np.uint64(0), 8 * place
        for byte in range(8):
            word |= np.uint64(unary[begin + byte]) << np.uint64(56 - 8 * byte)
        stream[place] = word
    word = np.uint64(0)
    for byte in range(unary.size - 8 * whole):
        word |= np.uint64(unary[8 * whole + byte]) << np.uint64(56 - 8 * byte)
    stream[whole] = word


@inner()
def _read(fixed: Bytes, stream: Words, bits: int, words: Words, lows: Bytes, folded: Folded, k: int) -> int:
    """Read the numbers u into `folded`.

    Args:
        fixed: the low bits.
        stream: the unary part.
        bits: its length; zeros fill up the last word.
        words: scratch, a byte per number.
        lows: the same memory as bytes.
        folded: takes the numbers.
        k: the number of low bits.

    Returns:
        The number of values that end within the stream, or `TOO_LARGE`, `MORE` or `BITS_AFTER`.
    """
    count, octets, whole_bytes, planes = folded.size, (folded.size + 7) // 8, k // 8, k % 8
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
        words[:octets] = np.uint64(0)
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


@inner()
def _unfold_(folded: Folded) -> None:
    """Replace every u by its x, in place, as the bits of the signed type."""
    for index in range(folded.size):
        u = np.uint64(folded[index])
        folded[index] = (u >> np.uint64(1)) ^ (np.uint64(0) - (u & np.uint64(1)))


@compiled()
def write(
    numbers: Numbers, blocks: Table, out: Bytes, folded: Folded, words: Words, lows: Bytes, stream: Words
) -> int:
    """Write the code of all `blocks` of `numbers` to the beginning of `out`.

    Args:
        numbers: int32 or int64.
        blocks: the table of `privacy.sums.rice_blocks.Blocks`.
        out: the bytes to write to.
        folded: scratch for the numbers of a block, unsigned.
        words: scratch, a byte per number of a block.
        lows: the same memory as bytes.
        stream: scratch for the unary part of a block.

    Returns:
        `DONE`, or the number of the block that has no room.
    """
    place, room = 0, 0
    for block in range(blocks.shape[0]):
        begin, end, k = blocks[block, BEGIN], blocks[block, END], blocks[block, LOW_BITS]
        if blocks[block, ROOM]:
            room = place + blocks[block, ROOM]
        count = end - begin
        low = place + LENGTH_BYTES
        high = low + _fixed_bytes(count, k)
        bits = 8 * min(room - high, blocks[block, MOST_UNARY])
        if bits < count:
            return block
        largest, total = _fold(numbers[begin:end], folded[:count], k)
        if largest >= np.uint64(bits) or total > np.uint64(bits - count):  # below it, no sum overflows
            return block
        size = (np.int64(total) + count + 7) // 8
        _write_lows(folded[:count], k, out[low:high], words, lows)
        _write_highs(folded[:count], k, stream)
        _to_bytes(stream, out[high : high + size])
        for byte in range(LENGTH_BYTES):
            out[place + byte] = np.uint8(size >> (8 * byte))
        place = high + size
    return DONE


@compiled()
def add_read_(
    sums: Numbers,
    packed: Bytes,
    blocks: Table,
    most: Reals,
    sign: int,
    numbers: Numbers,
    folded: Folded,
    words: Words,
    lows: Bytes,
    stream: Words,
) -> tuple[int, int, float]:
    """Read the `blocks` of a code, and add their numbers to `sums`, or subtract them.

    Args:
        sums: int32 or int64.
        packed: what `write` wrote.
        blocks: the table of `privacy.sums.rice_blocks.Blocks`, or its beginning.
        most: for each block, the largest squared norm of its group up to its end.
        sign: 1 to add, -1 to subtract, to the bit: integers wrap around.
        numbers: scratch for the numbers of a block.
        folded: the same memory, unsigned.
        words: scratch, a byte per number of a block.
        lows: the same memory as bytes.
        stream: scratch for the unary part of a block.

    Returns:
        `DONE`, and the number of bytes read. Or else what is wrong, and at which block; its numbers are added
        only if it is `BEYOND`. The third number is the squared norm that is beyond `most`, or the length, or
        the number of values, of a block that is no code.
    """
    place, room, squared = 0, 0, 0.0
    for block in range(blocks.shape[0]):
        begin, end, k = blocks[block, BEGIN], blocks[block, END], blocks[block, LOW_BITS]
        if blocks[block, ROOM]:
            room, squared = place + blocks[block, ROOM], 0.0
        count = end - begin
        low = place + LENGTH_BYTES
        high = low + _fixed_bytes(count, k)
        length = 0
        if low <= room:
            for byte in range(LENGTH_BYTES):
                length |= int(np.int64(packed[place + byte])) << (8 * byte)
        if length > blocks[block, MOST_UNARY] or high + length > room:
            return TOO_LONG, block, np.float64(length)
        used = stream[: length // 8 + 1]
        _from_bytes(packed[high : high + length], used)
        ends = _read(packed[low:high], used, 8 * length, words, lows, folded[:count], k)
        if ends < 0:
            return ends, block, 0.0
        if ends != count:
            return TOO_FEW, block, np.float64(ends)
        _unfold_(folded[:count])
        if sign > 0:
            squared += _add_(sums[begin:end], numbers[:count])
            if squared > most[block]:
                return BEYOND, block, squared
        else:
            _take_back_(sums[begin:end], numbers[:count])
        place = high + length
    return DONE, place, 0.0
