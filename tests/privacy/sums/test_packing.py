"""Packing is lossless, its length public, and every byte string has at most one meaning."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from privacy import (
    ClipBounds,
    LayerLayout,
    Quantiser,
    ReplyRejected,
    accumulator_dtype,
    add_clipped_,
    add_packed_,
)
from privacy.sums import rice, rice_blocks
from privacy.sums.packing import pack, packed_bytes, unpack
from tests.privacy.sum_checks import check_sum

LAYOUT = LayerLayout.of([("weight", (9, 40)), ("bias", (7,)), ("scale", ()), ("more", (5, 5))])
SOME = ClipBounds.of("dim", 0.3, LAYOUT, statistics=2)


def any_bounds():
    return st.builds(
        lambda rule, action, adaptive: ClipBounds.of(
            rule, 0.3, LAYOUT, action=action, statistics=2, adaptive=adaptive
        ),
        st.sampled_from(["global", "uniform", "dim", "power"]),
        st.sampled_from(["clip", "normalise"]),
        st.booleans(),
    )


def summed(seed, count, bounds, quantiser, shape):
    """A sum of `count` clipped updates; `shape` makes their values alike, or a few of them large."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(bounds.size, dtype=accumulator_dtype(count, quantiser))
    for _ in range(count):
        add_clipped_(total, shape(torch.randn(bounds.size, generator=generator)), bounds, quantiser)
    return total


SHAPES = {
    "even": torch.sign,
    "gaussian": lambda values: values,
    "in one value": lambda values: torch.where(values == values.max(), 1e6, 0.0),
    "spread wide": lambda values: (values * 6).exp() * values.sign(),
    "nothing": torch.zeros_like,
}


@settings(deadline=None)
@given(st.integers(0, 9), st.integers(1, 6), any_bounds(), st.integers(12, 24), st.sampled_from(list(SHAPES)))
def test_every_sum_comes_back_bit_for_bit_and_its_length_is_public(seed, count, bounds, bits, shape):
    quantiser = Quantiser.of(bounds, bits=bits)
    total = summed(seed, count, bounds, quantiser, SHAPES[shape])
    packed = pack(total, count, bounds, quantiser)
    assert len(packed) == packed_bytes(count, bounds, quantiser)  # known before any data is read
    back = unpack(packed, count, bounds, quantiser)
    assert back.dtype == total.dtype
    assert torch.equal(back, total)


def test_the_longest_code_of_all_fits():
    """Equal values meet Cauchy and Schwarz with equality: no room is left but what rounding leaves."""
    layout = LayerLayout.of({"one": (1 << 16,)})
    bounds = ClipBounds.of("global", 1.0, layout)
    quantiser = Quantiser.of(bounds, bits=20)
    total = torch.full((bounds.size,), 2**12, dtype=torch.int32)  # a norm of exactly 2^20 steps
    packed = pack(total, 1, bounds, quantiser)
    assert torch.equal(unpack(packed, 1, bounds, quantiser), total)
    assert len(packed) - np.flatnonzero(packed)[-1] < 9
    with pytest.raises(ValueError, match="not a sum of 1"):
        pack(2 * total, 1, bounds, quantiser)


def test_many_blocks_and_sums_beyond_32_bits():
    layout = LayerLayout.of({"one": (70_000,), "two": (3,)})
    bounds = ClipBounds.of("uniform", 1.0, layout)
    quantiser = Quantiser.of(bounds, bits=24)
    count = 1000
    assert accumulator_dtype(count, quantiser) == torch.int64
    generator = torch.Generator().manual_seed(0)
    total = (torch.randn(bounds.size, generator=generator) * 1e7).round().to(torch.int64)
    total[-3] = 4_000_000_000
    assert torch.equal(unpack(pack(total, count, bounds, quantiser), count, bounds, quantiser), total)


def test_the_length_is_near_the_entropy_of_a_gaussian_at_the_bound():
    layout = LayerLayout.of({"one": (1000, 500)})
    bounds = ClipBounds.of("global", 1.0, layout)
    quantiser = Quantiser.of(bounds)
    entropy = math.log2(2**20 / math.sqrt(bounds.size) * math.sqrt(2 * math.pi * math.e))
    assert 8 * packed_bytes(1, bounds, quantiser) / bounds.size < entropy + 1


def test_a_sum_of_more_updates_than_said_is_refused():
    quantiser = Quantiser.of(SOME)
    total = summed(0, 60, SOME, quantiser, torch.ones_like)
    with pytest.raises(ValueError, match="are not a sum of 1 clipped updates"):
        pack(total, 1, SOME, quantiser)


QUANTISER = Quantiser.of(SOME)
PACKED = pack(summed(0, 2, SOME, QUANTISER, SHAPES["gaussian"]), 2, SOME, QUANTISER)


def meaning(packed, count=2):
    """The sum that the bytes hold, or None if they are refused (any other error fails the test)."""
    try:
        return unpack(packed, count, SOME, QUANTISER)
    except ReplyRejected:
        return None


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(PACKED) - 1), st.integers(1, 255))
def test_damaged_bytes_are_refused_or_are_the_packing_of_another_sum(place, flip):
    """No two byte strings mean the same."""
    damaged = PACKED.copy()
    damaged[place] ^= flip
    total = meaning(damaged)
    if total is not None:
        assert not torch.equal(total, meaning(PACKED))
        assert np.array_equal(pack(total, 2, SOME, QUANTISER), damaged)


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(PACKED) - 1), st.integers(1, 255), st.sampled_from([torch.int32, torch.int64]))
def test_damaged_bytes_are_added_as_what_they_mean_or_leave_the_sum_as_it_was(place, flip, dtype):
    """Whether it is a block, a slice's norm or the very end that gives them away."""
    damaged, before = PACKED.copy(), torch.arange(SOME.size, dtype=dtype) - 100
    damaged[place] ^= flip
    total, accumulator = meaning(damaged), before.clone()
    try:
        if total is not None:
            check_sum(total, 2, SOME, QUANTISER)
            before += total
        add_packed_(accumulator, damaged, 2, SOME, QUANTISER)
    except ReplyRejected:
        pass
    else:
        assert total is not None
    assert torch.equal(accumulator, before)


@settings(deadline=None)
@given(npst.arrays(np.uint8, len(PACKED)))
def test_arbitrary_bytes_are_refused_or_canonical(packed):
    total = meaning(packed)
    assert total is None or np.array_equal(pack(total, 2, SOME, QUANTISER), packed)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda packed: packed[:-1], r"Expected \d+ bytes"),
        (lambda packed: np.concatenate([packed, packed[:1]]), r"Expected \d+ bytes"),
        (lambda packed: packed.reshape(1, -1), r"Expected \d+ bytes"),
        (lambda packed: packed.astype(np.int16), "int16"),
        (lambda packed: np.concatenate([packed[:-1], [np.uint8(1)]]), "after the last value"),
        (lambda packed: np.full_like(packed, 255), "more than it can need"),
        (lambda packed: np.zeros_like(packed), "has 0 ends"),
    ],
)
def test_what_is_no_packed_sum_is_refused_with_the_reason(spoil, reason):
    with pytest.raises(ReplyRejected, match=reason):
        unpack(spoil(PACKED.copy()), 2, SOME, QUANTISER)


def test_a_sum_of_another_count_has_another_length():
    with pytest.raises(ReplyRejected, match=r"Expected \d+ bytes for a sum of 3"):
        unpack(PACKED, 3, SOME, QUANTISER)


def test_bounds_decide_the_length_and_nothing_else_does():
    other = dataclasses.replace(SOME, bounds=tuple(2 * bound for bound in SOME.bounds))
    assert packed_bytes(2, SOME, QUANTISER) == packed_bytes(2, other, Quantiser.of(other))


@pytest.mark.parametrize("size", [0, 10, SOME.size - 1, SOME.size + 1])
def test_a_sum_of_another_size_is_refused_before_a_loop_runs_over_it(size):
    """The loops do not look: they would pack memory of the process, or write into it."""
    short = torch.zeros(size, dtype=torch.int32)
    with pytest.raises(ValueError, match=f"Expected {SOME.size} int32 or int64 values"):
        pack(short, 2, SOME, QUANTISER)
    with pytest.raises(ValueError, match=f"Expected {SOME.size} int32 or int64 values"):
        add_packed_(short, PACKED, 2, SOME, QUANTISER)
    with pytest.raises(ValueError, match="int32 or int64 values"):
        add_packed_(torch.zeros(SOME.size), PACKED, 2, SOME, QUANTISER)


@given(st.integers(0, 31), st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=50), st.booleans())
def test_rice_decode_is_the_inverse_of_encode(k, values, wide):
    numbers = np.array(values, dtype=np.int64 if wide else np.int32) >> max(0, 12 - k)
    assert np.array_equal(there_and_back(numbers, k), numbers)


def one_block(size, k, unary):
    """The only block of a code, with so many bytes for its unary part."""
    room = rice_blocks.LENGTH_BYTES + rice_blocks.fixed_bytes(size, k) + unary
    return rice_blocks.Blocks([rice_blocks.Block(begin=0, end=size, low_bits=k, most_unary=unary, room=room)])


def there_and_back(numbers, k):
    blocks, back = one_block(len(numbers), k, 1 << 20), np.zeros_like(numbers)
    packed = np.zeros(blocks.blocks[0].room, np.uint8)
    assert rice.encode(numbers, blocks, packed) is None
    assert rice.add_decoded_(back, packed, blocks, numbers.dtype) is None
    return back


def by_the_definition(numbers, k):
    """Slow, from strings of bits, and with nothing of ours."""
    folded = [2 * x if x >= 0 else -2 * x - 1 for x in map(int, numbers)]
    low = [[u >> (8 * byte) & 255 for u in folded] for byte in range(k // 8)]
    pieces = [bytes(one) for one in low]
    bits = ["".join(str(u >> bit & 1) for u in folded) for bit in range(k // 8 * 8, k)]
    bits.append("".join("0" * (u >> k) + "1" for u in folded))
    for one in bits:
        padded = one + "0" * (-len(one) % 8)
        pieces.append(bytes(int(padded[place : place + 8], 2) for place in range(0, len(padded), 8)))
    return b"".join(pieces)


@given(st.integers(0, 25), st.lists(st.integers(-(2**9), 2**9), min_size=1, max_size=50), st.booleans())
def test_rice_encode_is_what_its_definition_says(k, values, wide):
    numbers = np.array(values, dtype=np.int64 if wide else np.int32)
    expected = by_the_definition(numbers, k)
    unary = len(expected) - rice_blocks.fixed_bytes(len(numbers), k)
    packed = np.zeros(rice_blocks.LENGTH_BYTES + len(expected), np.uint8)
    assert rice.encode(numbers, one_block(len(numbers), k, unary), packed) is None
    assert packed.tobytes() == unary.to_bytes(rice_blocks.LENGTH_BYTES, "little") + expected
    too_small = one_block(len(numbers), k, unary - 1)
    assert rice.encode(numbers, too_small, np.zeros_like(packed)[1:]) is too_small.blocks[0]


@pytest.mark.parametrize("extreme", [-(2**31), 2**31 - 1])
def test_rice_takes_every_number_of_the_type(extreme):
    numbers = np.array([extreme, 0, extreme], dtype=np.int32)
    assert np.array_equal(there_and_back(numbers, 24), numbers)


@pytest.mark.parametrize("extreme", [-(2**63), 2**63 - 1])
def test_rice_takes_every_long_number_too(extreme):
    numbers = np.array([extreme, -1, extreme], dtype=np.int64)
    assert np.array_equal(there_and_back(numbers, 50), numbers)


@pytest.mark.parametrize("extreme", [-(2**63), 2**63 - 1])
def test_rice_has_no_room_for_a_long_unary_part(extreme):
    numbers, blocks = np.array([extreme], dtype=np.int64), one_block(1, 0, 9)
    assert rice.encode(numbers, blocks, np.zeros(13, np.uint8)) is blocks.blocks[0]


def decode(fixed, unary, count, k):
    """Read the code of `count` numbers with this low and unary part, whatever they are."""
    length = len(unary).to_bytes(rice_blocks.LENGTH_BYTES, "little")
    packed = np.concatenate([np.array(list(part), np.uint8) for part in (length, fixed, unary)])
    rice.add_decoded_(np.zeros(count, np.int32), packed, one_block(count, k, len(unary)), np.dtype(np.int32))


@pytest.mark.parametrize("claimed", [3, 255])
def test_rice_reads_nothing_behind_the_end(claimed):
    """A block that uses up its group's room leaves the next without even a length."""
    blocks = rice_blocks.Blocks(
        [
            rice_blocks.Block(begin=0, end=1, low_bits=0, most_unary=255, room=7),
            rice_blocks.Block(begin=1, end=2, low_bits=0, most_unary=255, room=0),
        ]
    )
    packed = np.array([claimed, 0, 0, 0, 0b0000_0000, 0, 0b1000_0000], np.uint8)
    sums = np.arange(2, dtype=np.int32)
    with pytest.raises(ReplyRejected, match="a block of 1 values claims"):
        rice.add_decoded_(sums, packed, blocks, np.dtype(np.int32))
    assert sums.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("fixed", "unary", "reason"),
    [
        ([0], [], "has 0 ends"),
        ([0], [0b1000_0000], "has 1 ends"),
        ([0], [0b1110_0000], "more follows"),
        ([0], [0b1100_0000, 0], "more follows"),
        ([0b0010_0000], [0b1100_0000], "bits after the last"),
    ],
)
def test_rice_refuses_a_second_spelling(fixed, unary, reason):
    with pytest.raises(ReplyRejected, match=reason):
        decode(fixed, unary, 2, 1)


def test_rice_refuses_a_value_that_the_type_cannot_hold():
    unary = np.packbits(np.eye(1, 1 << 9, (1 << 9) - 1, dtype=np.bool_)[0])
    with pytest.raises(ReplyRejected, match="beyond 32 bits"):
        decode(np.zeros(3), unary, 1, 24)


@pytest.mark.parametrize("beyond", [2**32, -(2**32), 2**32 + 5])
def test_a_value_beyond_the_packed_type_is_refused_and_not_wrapped_around(beyond):
    total = torch.zeros(SOME.size, dtype=torch.int64)
    total[3] = beyond
    with pytest.raises(ValueError, match=r"fits in torch\.int32; this sum does not"):
        pack(total, 2, SOME, QUANTISER)
