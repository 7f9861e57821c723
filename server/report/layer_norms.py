"""Update norms by group of layers, for the live view of a simulation with `run.raw-metrics`.

They are computed from the speakers' updates without noise, so no epsilon covers them. Without that setting no
node sends them, and there is nothing to show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from privacy.layer_groups import LayerGroup, layer_groups
from privacy.layout import LayerLayout
from privacy.noise.shape import relative_stds
from strategies import Mechanism
from wire.raw_metrics import RawMetrics


@dataclass(frozen=True, kw_only=True)
class GroupNorm:
    """A group of layers in the present round.

    Attributes:
        name: Of the group.
        norm: Root of the summed squares of its tensors' norms, means over the speakers before clipping.
        tensors: Number of its tensors.
        above: How many of them have a mean norm above their clip bound; None if bounds are not of tensors.
        signal_to_noise: At most so large is the mean clipped update beside the noise of a round; None if the
            noise of one round says little (bands) or there is none.
    """

    name: str
    norm: float
    tensors: int
    above: int | None
    signal_to_noise: float | None

    def line(self) -> str:
        """The group in some 60 characters."""
        above = f"{self.above:>4} of {self.tensors}" if self.above is not None else " " * 9
        ratio = "" if self.signal_to_noise is None else f"  {self.signal_to_noise:.2g}"
        return f"{self.name[-22:]:<22}  {self.norm:>8.3g}  {above:<9}{ratio}"


class LayerNorms:
    """Gathers what the nodes of a round send; the run's thread adds, and a thread that draws reads.

    Args:
        layout: The trained tensors.
        bounds: Clip bound of each tensor; None if the slices are others, or the bounds move.
        noise: Norm of the noise on each tensor of the mean; None if it is not known.
    """

    def __init__(
        self, layout: LayerLayout, bounds: Sequence[float] | None, noise: Sequence[float] | None
    ) -> None:
        self._layout, self._bounds, self._noise = layout, bounds, noise
        self._now: tuple[int, int, tuple[float, ...]] = (0, 0, ())  # round, speakers, sums; set at once

    @classmethod
    def of(cls, layout: LayerLayout, mechanism: Mechanism) -> LayerNorms:
        """Those of a run."""
        bounds, plan = mechanism.bounds, mechanism.plan
        if bounds.model_slices != len(layout) or mechanism.adaptive is not None:
            return cls(layout, None, None)
        noise = None
        if plan.is_private and plan.bands == 1:
            stds = relative_stds(mechanism.noise_shape, bounds)[: len(layout)]
            scale = plan.sigma_dp * bounds.total
            noise = [scale * std * math.sqrt(size) for std, size in zip(stds, layout.sizes, strict=True)]
        return cls(layout, bounds.bounds[: len(layout)], noise)

    def add(self, round_number: int, raw: RawMetrics) -> None:
        """Take what a node sent; the first of a round replaces the round before."""
        if not raw.trained or not raw.update_norms:
            return
        known, speakers, sums = self._now
        if known != round_number:
            speakers, sums = 0, (0.0,) * len(raw.update_norms)
        sums = tuple(a + b for a, b in zip(sums, raw.update_norms, strict=True))
        self._now = (round_number, speakers + raw.trained, sums)

    def groups(self, most: int) -> list[GroupNorm]:
        """At most `most` groups of layers (`privacy.layer_groups`)."""
        _, speakers, sums = self._now
        if not speakers or most < 1:
            return []
        means = [total / speakers for total in sums]
        return [self._group(group, means) for group in layer_groups(self._layout, most)]

    def _group(self, group: LayerGroup, means: Sequence[float]) -> GroupNorm:
        above, ratio, tensors = None, None, group.tensors
        if self._bounds is not None:
            kept = {one: min(means[one], self._bounds[one]) for one in tensors}
            above = sum(kept[one] < means[one] for one in tensors)
            if self._noise is not None:
                ratio = math.hypot(*kept.values()) / math.hypot(*(self._noise[one] for one in tensors))
        return GroupNorm(
            name=group.name,
            norm=math.hypot(*(means[one] for one in tensors)),
            tensors=len(tensors),
            above=above,
            signal_to_noise=ratio,
        )
