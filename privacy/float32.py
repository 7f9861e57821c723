"""Shortcuts for large float32 slices, with error bounds that are proven rather than hoped for.

`privacy.grid` clips in float64 and counts the result exactly. For slices of hundreds of thousands of values
that costs more than the sum itself, and float32 can do two of its steps if its errors are allowed for:

* `norm`: a sum of n float32 squares, added in any order, is within a share of n 2**-24 of the truth
  (Higham, Accuracy and Stability, section 3.1). Rows of 1,024 are summed so, and joined in float64.
* `add_rounded_`: x * factor in float32 is within a share of 2**-23 of the truth; adding 1.5 * 2**23 to a
  number below 2**22 rounds it to a whole one, which the lowest bits of the sum then spell out.

Neither is used where its error could matter: `grid` takes them only if the bound holds with all errors
against it (`reach`), and counts exactly otherwise.
"""

import math

import torch

NORM_ERROR = 2.0**-14
"""`norm` is within this share of the truth: (1024 + 1) 2**-24 on the square, and the root's rounding."""

LARGEST = 2.0**22
"""`add_rounded_` is for values below this after scaling."""

_PRODUCT_ERROR = 2.0**-22
_ROW, _BLOCK = 1 << 10, 1 << 17
_LARGE = 1 << 18
_UNDERFLOW = 1e-20  # squares that float32 loses add up to below 1e-29
_MAGIC = torch.tensor(1.5 * 2.0**23)
_MAGIC_BITS = 0x4B400000


def worthwhile(values: torch.Tensor) -> bool:
    """Whether a slice is of the kind and size that the shortcuts are for."""
    return values.dtype == torch.float32 and values.numel() >= _LARGE and values.is_contiguous()


def norm(values: torch.Tensor) -> float | None:
    """The norm of a float32 vector, within a share of `NORM_ERROR`; None where float32 cannot tell."""
    squared = _squared(values)
    return math.sqrt(squared) if _UNDERFLOW <= squared < math.inf else None


def reach(norms: list[float], factors: list[float], size: int) -> float:
    """The largest norm, in steps, that slices of these norms can have when scaled and rounded.

    Args:
        norms: as `norm` gave them.
        factors: what takes each slice to grid steps.
        size: the number of values in all slices together; rounding moves each by half a step at most.
    """
    scaled = math.hypot(*(norm * factor for norm, factor in zip(norms, factors, strict=True)))
    return scaled * (1 + NORM_ERROR) * (1 + _PRODUCT_ERROR) + math.sqrt(size) / 2


def add_rounded_(accumulator: torch.Tensor, values: torch.Tensor, factor: float) -> None:
    """accumulator += round(values * factor), in place; every |value * factor| must be below `LARGEST`."""
    block = torch.empty(min(_BLOCK, values.numel()))
    for part, sums in zip(torch.split(values, _BLOCK), torch.split(accumulator, _BLOCK), strict=True):
        shifted = torch.add(_MAGIC, part, alpha=factor, out=block[: part.numel()])
        sums.add_(shifted.view(torch.int32).sub_(_MAGIC_BITS))


def squared_at_most(integers: torch.Tensor) -> float:
    """An upper bound, a part in 2**12 above it at most, on the squared norm of an int32 or int64 vector."""
    block = torch.empty(min(_BLOCK, integers.numel()))
    squared = 0.0
    for part in torch.split(integers, _BLOCK):
        squared += _squared(block[: part.numel()].copy_(part))
    return squared * (1 + 3 * NORM_ERROR)  # 2 of them for the norms, and more than enough for the copy


def _squared(values: torch.Tensor) -> float:
    whole = values.numel() - values.numel() % _ROW
    rows = torch.linalg.vector_norm(values[:whole].view(-1, _ROW), dim=1).double()
    rest = values[whole:].double()
    return torch.dot(rows, rows).item() + torch.dot(rest, rest).item()
