"""The statistics of a run, which may be by group of layers: which they are, and how they are made and read.

Every run releases the two of `privacy.released_metrics`. With `privacy.group-statistics` a run also releases,
for each of its `layer_groups`,

- the norm of a speaker's update before clipping, as log2(norm / bound), limited to -8 to 4. The bound is that
  of the slices that the group's tensors are in. The mean of a logarithm gives a geometric mean;
- the share of its tensors that are in a slice whose norm was above its bound, if the clip rule has several
  slices and none of them ends within a tensor.

Guarantee: epsilon is that of the same run without them. All k statistics are one slice of the released
vector, whose bound is the same share of C for every k. So one speaker still changes the vector by at most C,
its noise is still z C on every coordinate, and all of it is still one Gaussian release, charged once. What
they cost is noise: each has a k-th of the slice's squared bound, so beside it the noise grows with
sqrt(k / 2). From a node with one drawn speaker the trusted server gets that speaker's values, and the update.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

from torch import Tensor

from privacy.clipping.bounds import ClipBounds
from privacy.clipping.quantisation import Quantiser
from privacy.layer_groups import LayerGroup, layer_groups
from privacy.layout import LayerLayout
from privacy.released_metrics import CLIPPED_SHARE, STATISTICS, Statistic, read_statistics

UPDATE_NORM = Statistic(name="update_norm", low=-8.0, high=4.0)
_MOST_EXPONENT = 64.0  # noise alone can move a logarithm beyond all numbers


@dataclass(frozen=True, kw_only=True)
class ReleasedGroup:
    """What the releases of a round say of a group of layers; all of it carries noise. None: it is not known.

    Attributes:
        name: Of the group.
        update_norm: Geometric mean of the norms of the speakers' updates before clipping.
        clipped_share: Mean share of its tensors above their bound; with noise it may be outside [0, 1].
        signal_to_noise: Norm of the mean update beside that of its noise (`privacy.signal_to_noise`).

    Example:
        >>> ReleasedGroup(name="blocks.0", signal_to_noise=0.5).update_norm is None
        True
    """

    name: str
    update_norm: float | None = None
    clipped_share: float | None = None
    signal_to_noise: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunStatistics:
    """The statistics of a run, in the order of the released vector.

    Attributes:
        layout: The model's tensors.
        statistics: All of them: two, then the norm of each group, then the share of each group.
        groups: The groups of layers that have statistics; none if the run has the first two alone.
        slices: By group: the slices that its tensors are in.
        slice_of: By tensor: the slice that it is in; None if no share by group is released.

    Example:
        >>> layout = LayerLayout.of({"front.w": (4,), "out.w": (2,)})
        >>> bounds = bounds_with_statistics("dim", 1.0, layout, by_group=True)
        >>> [one.name for one in RunStatistics.in_bounds(layout, bounds).statistics]
        ['clipped_share', 'train_loss', 'update_norm/front', 'update_norm/out', 'clipped_share/front', \
'clipped_share/out']
    """

    layout: LayerLayout
    statistics: tuple[Statistic, ...] = STATISTICS
    groups: tuple[LayerGroup, ...] = ()
    slices: tuple[tuple[int, ...], ...] = ()
    slice_of: tuple[int, ...] | None = None

    @classmethod
    def of(cls, layout: LayerLayout, bounds: ClipBounds, *, by_group: bool) -> RunStatistics:
        """Those for a model and the slices of its bounds; `bounds.statistics` is not read."""
        if not by_group:
            return cls(layout=layout)
        return _by_group(layout, bounds.offsets[: bounds.model_slices + 1])

    @classmethod
    def in_bounds(cls, layout: LayerLayout, bounds: ClipBounds) -> RunStatistics:
        """Those that `bounds` have room for: the list with groups or that without, and no other.

        Raises:
            ValueError: For bounds of another model, or with another number of statistics.
        """
        if bounds.model_size != layout.size:
            raise ValueError(
                f"the clip bounds are for {bounds.model_size} coordinates, the model has {layout.size}"
            )
        if bounds.statistics == len(STATISTICS):
            return cls.of(layout, bounds, by_group=False)
        found = cls.of(layout, bounds, by_group=True)
        if len(found.statistics) == bounds.statistics:
            return found
        few, many = len(STATISTICS), len(found.statistics)
        raise ValueError(
            f"the clip bounds have {bounds.statistics} statistics; a run of this model has {few}, or {many} "
            "with privacy.group-statistics"
        )

    def values(
        self,
        update: Tensor,
        unclipped: Sequence[bool] | None,
        *,
        clipped_share: float,
        loss: float,
        bounds: ClipBounds,
    ) -> list[float]:
        """One speaker's values, in the order of `statistics`.

        Args:
            update: (d,), before clipping.
            unclipped: Of `unclipped_slices`; None for an update that is not finite, which counts as zero.
                Read only if there are groups.
            clipped_share: The share of all slices that were clipped.
            loss: The training loss.
            bounds: The round's bounds.
        """
        fixed = [clipped_share, loss]
        if not self.groups:
            return fixed
        if unclipped is None:
            norms, above = [math.nan] * len(self.groups), [0.0] * len(self.groups)
        else:
            tensors = self.layout.norms(update)
            norms = [
                _log2(math.hypot(*(tensors[one] for one in group.tensors))) - math.log2(bound)
                for group, bound in zip(self.groups, self._bounds(bounds), strict=True)
            ]
            above = [self._share_above(group, unclipped) for group in self.groups]
        return [*fixed, *norms, *(above if self.slice_of is not None else ())]

    def read(
        self, released: Tensor, cohort: float, bounds: ClipBounds, quantiser: Quantiser
    ) -> tuple[dict[str, float], tuple[ReleasedGroup, ...]]:
        """The first two statistics by name, and the groups, from the released sum; arguments as for
        `read_statistics`."""
        values = read_statistics(released, cohort, bounds, quantiser, self.statistics)
        fixed = {one.name: values[one.name] for one in STATISTICS}
        groups = tuple(
            ReleasedGroup(
                name=group.name,
                update_norm=bound * 2.0 ** _limited(values[f"{UPDATE_NORM.name}/{group.name}"]),
                clipped_share=values.get(f"{CLIPPED_SHARE.name}/{group.name}"),
            )
            for group, bound in zip(self.groups, self._bounds(bounds), strict=True)
        )
        return fixed, groups

    def _bounds(self, bounds: ClipBounds) -> list[float]:
        """By group: the bound of the slices that its tensors are in."""
        return [math.hypot(*(bounds.bounds[one] for one in slices)) for slices in self.slices]

    def _share_above(self, group: LayerGroup, unclipped: Sequence[bool]) -> float:
        if self.slice_of is None:
            return 0.0
        return sum(not unclipped[self.slice_of[one]] for one in group.tensors) / len(group.tensors)


def bounds_with_statistics(
    rule: str, total: float, layout: LayerLayout, *, by_group: bool, **settings: Any
) -> ClipBounds:
    """`ClipBounds.of` with the number of statistics that a run with (`by_group`) or without groups has."""
    statistics: tuple[Statistic, ...] = STATISTICS
    if by_group:  # which they are depends on the rule's slices
        plain = ClipBounds.of(rule, total, layout, **settings)
        statistics = RunStatistics.of(layout, plain, by_group=True).statistics
    return ClipBounds.of(rule, total, layout, statistics=len(statistics), **settings)


def most_statistics(layout: LayerLayout) -> int:
    """The largest number of statistics that a run of this model has, under any clip rule."""
    return len(STATISTICS) + 2 * len(layer_groups(layout))


@lru_cache(maxsize=4)  # a host asks for each of its nodes
def _by_group(layout: LayerLayout, borders: tuple[int, ...]) -> RunStatistics:
    """The statistics with groups, for slices of the model between `borders`."""
    groups = layer_groups(layout)
    touched = [
        range(bisect_right(borders, begin) - 1, bisect_left(borders, end))
        for begin, end in pairwise(layout.offsets)
    ]
    several = len({one for slices in touched for one in slices}) > 1
    whole = several and all(len(slices) == 1 for slices in touched)
    kinds = (UPDATE_NORM, CLIPPED_SHARE) if whole else (UPDATE_NORM,)
    of_groups = (replace(kind, name=f"{kind.name}/{group.name}") for kind in kinds for group in groups)
    return RunStatistics(
        layout=layout,
        statistics=(*STATISTICS, *of_groups),
        groups=groups,
        slices=tuple(
            tuple(sorted({one for tensor in group.tensors for one in touched[tensor]})) for group in groups
        ),
        slice_of=tuple(slices[0] for slices in touched) if whole else None,
    )


def _log2(norm: float) -> float:
    """The logarithm; of 0 one that is as far below every range."""
    return math.log2(norm) if norm else -1e6


def _limited(exponent: float) -> float:
    return min(max(exponent, -_MOST_EXPONENT), _MOST_EXPONENT)
