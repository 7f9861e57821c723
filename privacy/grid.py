"""Clipping onto an integer grid: sums that are exact in any order, and a bound that arithmetic cannot break.

A clipped update is rounded to multiples of ``step = C / 2**bits``. From there on updates are integers: their
sum does not depend on the order of replies, it is small on the wire, and with the noise rounded too the
released values lie on a grid that knows nothing of the data (float summation leaks through its last bits).

Rounding moves a slice of n values by at most ``step * sqrt(n) / 2``, so the clip aims that *margin* below
the bound. The result is then counted once more, exactly: a sum of squares of integers is exact in float64
here, and what exceeded its bound would be taken back and shrunk.

Large vectors are walked in blocks that stay in the processor's cache; the only memory besides the caller's
buffers is one such block. Large float32 slices take the shortcuts of `privacy.float32` where the bound is
proven to hold with their errors; everything else is counted.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch

from privacy import float32
from privacy.clipping import ClipBounds
from privacy.errors import ReplyRejected
from privacy.validate import positive, whole

_BLOCK = 1 << 16
_MAX_BITS = 24
_SMALLEST_TOTAL, _LARGEST_TOTAL = 1e-30, 1e30
# float64 norms and factors err by parts in 2**50; this is room for them below the bound.
_FLOAT_ROOM = 1 - 2.0**-40
# A sum of `count` integer vectors is held to count * bound by float64 arithmetic on squares up to 2**80.
_SQUARES_SLACK = 1 + 1e-9

Piece = tuple[int, int, float]
"""Where a slice begins and ends, and the factor that takes its values to grid steps."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The grid of released values: multiples of ``step``, of which ``2**bits`` make the clip bound C.

    Make one with `Grid.of`. In units of steps the L2 sensitivity is exactly ``2**bits``, so noise of
    multiplier z has a standard deviation of ``z * 2**bits`` steps (`noise_std_steps`).
    """

    step: float
    bits: int = 20

    def __post_init__(self) -> None:
        positive(step=self.step)
        if not 1 <= whole(bits=self.bits) <= _MAX_BITS:
            raise ValueError(f"Expected 1 <= bits <= {_MAX_BITS}, got bits={self.bits}.")

    @classmethod
    def of(cls, bounds: ClipBounds, bits: int = 20) -> "Grid":
        """The grid whose step is C / 2**bits.

        Raises:
            ValueError: if C is outside [1e-30, 1e30], or if some slice's bound does not exceed its rounding
                margin, so that nothing but zero could be guaranteed to stay within it.
        """
        if not _SMALLEST_TOTAL <= bounds.total <= _LARGEST_TOTAL:
            raise ValueError(
                f"Expected a clip bound in [{_SMALLEST_TOTAL}, {_LARGEST_TOTAL}], got {bounds.total}."
            )
        grid = cls(step=bounds.total / 2**bits, bits=bits)
        for index, bound in enumerate(bounds.bounds):
            margin = grid.margin(bounds.group_size(range(index, index + 1)))
            if bound <= margin:
                enough = bits + math.floor(math.log2(margin / bound)) + 1
                raise ValueError(
                    f"The bound {bound:.3g} of slice {index} is no larger than the rounding margin "
                    f"{margin:.3g} of a grid of {bits} bits: use at least {enough} bits (at most "
                    f"{_MAX_BITS}), a higher bound for this slice, or fewer slices."
                )
        return grid

    def margin(self, size: int) -> float:
        """The most by which rounding to the grid can lengthen a vector of ``size`` values."""
        return self.step * math.sqrt(size) / 2

    def noise_std_steps(self, noise_multiplier: float) -> float:
        """The standard deviation, in steps, of noise of multiplier z: z C / step."""
        return noise_multiplier * 2.0**self.bits


@dataclass(frozen=True, kw_only=True, eq=False)
class ClippedUpdate:
    """One person's update on the grid: int32 ``integers`` (d + k,), and the share of clipped slices."""

    integers: torch.Tensor
    clipped: float


@lru_cache(maxsize=64)
def squared_limits(bounds: ClipBounds, grid: Grid) -> tuple[int, ...]:
    """The largest squared norm in steps that each group of one update may have: whole numbers.

    Guarantee:
        They add up to at most ``4**bits``, the square of C in steps.

    Raises:
        ValueError: if the grid was made for other bounds.
    """
    if not math.isclose(grid.step * 2**grid.bits, bounds.total, rel_tol=1e-12):
        raise ValueError(
            f"The grid (step {grid.step}, {grid.bits} bits) belongs to a clip bound of "
            f"{grid.step * 2**grid.bits}, but the bounds have {bounds.total}; make it with Grid.of(bounds)."
        )
    steps = (bounds.group_bound(group) / bounds.total * 2**grid.bits for group in bounds.groups)
    return tuple(math.floor(bound * bound) for bound in steps)


def accumulator_dtype(max_count: int, grid: Grid) -> torch.dtype:
    """The narrowest integer type that holds any sum of ``max_count`` clipped updates without overflow.

    int32 adds thirteen times faster than int64 and is half as long on the wire.
    """
    return torch.int32 if whole(1, max_count=max_count) * 2**grid.bits < 2**31 else torch.int64


def clip_to_grid(update: torch.Tensor, bounds: ClipBounds, grid: Grid) -> ClippedUpdate:
    """Clip one update and round it to the grid.

    Guarantee:
        The integers' norm is at most ``2**bits`` steps, that is C, for every input of every real dtype; each
        group's is within its own bound. An update with any entry that is not finite becomes all zeros.

    Args:
        update: shape (bounds.size,): the model's coordinates, then room for statistics and indicators.

    Returns:
        Fresh integers, and the share of the model's slices whose norm exceeded their bound.
    """
    integers = torch.zeros(update.shape, dtype=torch.int32)
    return ClippedUpdate(integers=integers, clipped=add_clipped_(integers, update, bounds, grid))


def add_clipped_(accumulator: torch.Tensor, update: torch.Tensor, bounds: ClipBounds, grid: Grid) -> float:
    """Clip one update, round it to the grid and add it into an integer sum, in place.

    Guarantee:
        As `clip_to_grid`: what is added has a norm of at most ``2**bits`` steps. An update with any entry
        that is not finite adds nothing. The update itself is only read.

    Args:
        accumulator: the caller's int32 or int64 sum, shape (d + k,); see `accumulator_dtype`.
        update: shape (d + k,), any real dtype.

    Returns:
        The share of the model's slices whose norm exceeded their bound; 0 for an update that adds nothing.
    """
    _check_shapes(accumulator, update, bounds)
    limits = squared_limits(bounds, grid)
    block = _scratch(bounds.size)
    norms = _slice_norms(update, bounds, block)
    if not all(map(math.isfinite, norms)):
        return 0.0
    for group, limit in zip(bounds.groups, limits, strict=True):
        pieces = _pieces(group, norms, bounds, grid, _room(update, bounds, group))
        if _proven(limit, update, pieces, [norms[index] for index in group]):
            for begin, end, factor in pieces:
                float32.add_rounded_(accumulator[begin:end], update[begin:end], factor)
            continue
        while not _add_within(limit, accumulator, update, pieces, block):
            pieces = [(begin, end, factor / 2) for begin, end, factor in pieces]
    return _share_above(norms, bounds)


def clipped_share(update: torch.Tensor, bounds: ClipBounds) -> float:
    """The share of the model's slices whose norm exceeds their bound, without clipping anything.

    For a client that releases this share as one of the statistics of the very update it is about to clip.
    An update with an entry that is not finite has a share of 0, as in `add_clipped_`.
    """
    _check_update(update, bounds)
    norms = _slice_norms(update, bounds, _scratch(bounds.size))
    return _share_above(norms, bounds) if all(map(math.isfinite, norms)) else 0.0


def check_sum(total: torch.Tensor, count: int, bounds: ClipBounds, grid: Grid) -> None:
    """Refuse a sum that ``count`` clipped updates cannot have.

    Guarantee:
        By the triangle inequality a sum of ``count`` outputs of `clip_to_grid` always passes, and what passes
        moves the round's sum by no more than ``count`` honest updates could. It is a defence against broken
        or hostile nodes; nobody's privacy rests on it.

    Args:
        total: integer tensor of shape (d + k,), in grid steps.

    Raises:
        ReplyRejected: naming the first slice whose norm exceeds ``count`` times its bound, or the shape and
            dtype of what is no such sum. (A `ValueError` too.)
    """
    whole(count=count)
    if total.shape != (bounds.size,) or total.dtype not in (torch.int32, torch.int64):
        raise ReplyRejected(
            f"Expected a sum of {bounds.size} int32 or int64 values, got {tuple(total.shape)} {total.dtype}."
        )
    block = _scratch(bounds.size)
    for group, limit in zip(bounds.groups, squared_limits(bounds, grid), strict=True):
        begin, end = bounds.offsets[group.start], bounds.offsets[group.stop]
        allowed = float(count * count * limit) * _SQUARES_SLACK
        if float32.squared_at_most(total[begin:end]) <= allowed:
            continue
        squared = _squared_norm(total, begin, end, block)
        if not squared <= allowed:
            raise ReplyRejected(
                f"Coordinates {begin} to {end - 1} of the sum (slice {group.start} of {len(bounds)}) have "
                f"norm {math.sqrt(squared) * grid.step:.6g}, but {count} clipped updates reach at most "
                f"{math.sqrt(allowed) * grid.step:.6g}."
            )


def _check_update(update: torch.Tensor, bounds: ClipBounds) -> None:
    if update.shape != (bounds.size,) or update.is_complex():
        raise ValueError(
            f"Expected an update of {bounds.size} real values, got {tuple(update.shape)} {update.dtype}."
        )


def _check_shapes(accumulator: torch.Tensor, update: torch.Tensor, bounds: ClipBounds) -> None:
    _check_update(update, bounds)
    if accumulator.shape != update.shape or accumulator.dtype not in (torch.int32, torch.int64):
        raise ValueError(
            f"Expected an int32 or int64 accumulator of {bounds.size} values, got "
            f"{tuple(accumulator.shape)} {accumulator.dtype}."
        )


def _scratch(size: int) -> torch.Tensor:
    return torch.empty(min(size, _BLOCK), dtype=torch.float64)


def _squared_norm(values: torch.Tensor, begin: int, end: int, block: torch.Tensor) -> float:
    """The squared norm of values[begin:end] in float64; not finite exactly if an entry is not finite."""
    squared = 0.0
    for start in range(begin, end, _BLOCK):
        part = block[: min(_BLOCK, end - start)].copy_(values[start : min(start + _BLOCK, end)])
        squared += torch.dot(part, part).item()
    return squared


def _norm(update: torch.Tensor, begin: int, end: int, block: torch.Tensor) -> float:
    values = update[begin:end]
    quick = float32.norm(values) if float32.worthwhile(values) else None
    return math.sqrt(_squared_norm(update, begin, end, block)) if quick is None else quick


def _slice_norms(update: torch.Tensor, bounds: ClipBounds, block: torch.Tensor) -> list[float]:
    borders = zip(bounds.offsets, bounds.offsets[1:], strict=False)
    return [_norm(update, begin, end, block) for begin, end in borders]


def _room(update: torch.Tensor, bounds: ClipBounds, group: range) -> float:
    """How far below its bound a group is aimed, as a factor: room for the errors of its norms."""
    quick = any(
        float32.worthwhile(update[bounds.offsets[index] : bounds.offsets[index + 1]]) for index in group
    )
    return 1 - 2 * float32.NORM_ERROR if quick else _FLOAT_ROOM


def _proven(limit: int, update: torch.Tensor, pieces: list[Piece], norms: list[float]) -> bool:
    """Whether float32 arithmetic, at its worst, keeps the pieces within the limit (see `float32`)."""
    begin, end = pieces[0][0], pieces[-1][1]
    if not float32.worthwhile(update[begin:end]):
        return False
    reach = float32.reach(norms, [factor for _, _, factor in pieces], end - begin)
    return reach < float32.LARGEST and reach * reach * _SQUARES_SLACK <= limit


def _share_above(norms: list[float], bounds: ClipBounds) -> float:
    model = range(bounds.model_slices)
    return sum(norms[index] > bounds.bounds[index] for index in model) / len(model)


def _pieces(group: range, norms: list[float], bounds: ClipBounds, grid: Grid, room: float) -> list[Piece]:
    """The one clip rule: a group beyond its bound has each of its slices scaled to its own bound."""
    borders = [(bounds.offsets[index], bounds.offsets[index + 1]) for index in group]
    aim = (bounds.group_bound(group) - grid.margin(bounds.group_size(group))) * room
    if math.hypot(*(norms[index] for index in group)) <= aim:
        return [(begin, end, 1 / grid.step) for begin, end in borders]
    pieces: list[Piece] = []
    for index, (begin, end) in zip(group, borders, strict=True):
        aim = max(0.0, bounds.bounds[index] - grid.margin(end - begin)) * room
        pieces.append((begin, end, aim / norms[index] / grid.step if norms[index] else 0.0))
    return pieces


def _rounded_blocks(
    update: torch.Tensor, pieces: list[Piece], block: torch.Tensor
) -> Iterator[tuple[int, int, torch.Tensor]]:
    """Walk the pieces block by block: where the block lies and its values in whole steps (float64)."""
    for begin, end, factor in pieces:
        for start in range(begin, end, _BLOCK):
            stop = min(start + _BLOCK, end)
            part = block[: stop - start].copy_(update[start:stop])
            yield start, stop, part.mul_(factor).round_()


def _add_within(
    limit: int, accumulator: torch.Tensor, update: torch.Tensor, pieces: list[Piece], block: torch.Tensor
) -> bool:
    """Add the pieces if their squared norm in steps is within the limit; else change nothing.

    Squares are counted before their block is added, so every value that is converted to an integer is
    at most 2**bits, and the count is exact: it stays below 2**53.
    """
    squared = 0.0
    for start, stop, steps in _rounded_blocks(update, pieces, block):
        squared += torch.dot(steps, steps).item()
        if not squared <= limit:
            _take_back(start, accumulator, update, pieces, block)
            return False
        accumulator[start:stop].add_(steps.to(accumulator.dtype))
    return True


def _take_back(
    before: int, accumulator: torch.Tensor, update: torch.Tensor, pieces: list[Piece], block: torch.Tensor
) -> None:
    """Subtract again what `_add_within` had added below coordinate ``before``."""
    for start, stop, steps in _rounded_blocks(update, pieces, block):
        if start == before:
            return
        accumulator[start:stop].sub_(steps.to(accumulator.dtype))
