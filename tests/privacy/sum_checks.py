"""One update in steps, and one sum checked against its bounds, by the functions that add them."""

from dataclasses import dataclass

import torch

from privacy import ClipBounds, Quantiser, add_checked_, add_clipped_


@dataclass(frozen=True)
class Clipped:
    """int32 ``integers`` (d + k,), and the share of clipped slices."""

    integers: torch.Tensor
    clipped: float


def clip_to_steps(update: torch.Tensor, bounds: ClipBounds, quantiser: Quantiser) -> Clipped:
    """What `add_clipped_` adds of one update."""
    integers = torch.zeros(update.shape, dtype=torch.int32)
    return Clipped(integers, add_clipped_(integers, update, bounds, quantiser))


def check_sum(total: torch.Tensor, count: int, bounds: ClipBounds, quantiser: Quantiser) -> None:
    """Raise `ReplyRejected` if `add_checked_` does not add `total`."""
    add_checked_(torch.zeros(bounds.size, dtype=torch.int64), total, count, bounds, quantiser)
