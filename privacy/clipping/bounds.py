"""How far one person's update may reach: a partition of the released vector and one bound per slice.

Paper, Definition 3: the update g = (g_1 .. g_H) is clipped slice by slice to C_1 .. C_H with
C^2 = sum of C_h^2, so that its whole norm stays within C whatever the partition. What is needed for privacy
is only that partition and bounds do not depend on the data of the round.

The released vector is the model's d coordinates, followed by k *statistics* (loss, clipped share, ...), which
form one further slice. They ride in the same Gaussian event as the model: nothing computed from people
leaves un-noised, and the noise multiplier needs no split, because the model's bounds shrink by
sqrt(1 - share^2) and the total stays C. Where bounds adapt, one *indicator* per slice of the model follows in
the same way (`privacy.clipping.adaptive`).

Two actions are known. ``clip`` scales a slice down when its norm exceeds its own bound (Definition 3).
``normalise`` is what the paper's authors run: nothing happens until the *whole* model update exceeds C; then
every slice is scaled to exactly its bound, small ones upwards. Both are one rule on different groups of
slices: *if a group's norm exceeds the group's bound, each of its slices is scaled to its own bound*.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise

from base.registries import CLIP_RULES
from privacy.layout import LayerLayout
from privacy.validate import finite, open_probability, positive, whole


def _each_alone(slices: int) -> tuple[range, ...]:
    return tuple(range(index, index + 1) for index in range(slices))


def _all_together(slices: int) -> tuple[range, ...]:
    return (range(slices),)


CLIP_ACTIONS: dict[str, Callable[[int], tuple[range, ...]]] = {
    "clip": _each_alone,
    "normalise": _all_together,
}
"""Of each action the groups into which it gathers the model's slices."""


@dataclass(frozen=True, kw_only=True)
class ClipBounds:
    """A data-independent partition of the released vector with a bound per slice.

    Guarantee:
        A vector each of whose `groups` has a norm within that group's bound has a norm within `total`;
        `add_clipped_` holds every update to that. Adding or removing one person then
        changes the sum by at most `total` (L2 sensitivity, zero-out or add-or-remove adjacency).

    Args:
        offsets: P + 1 ascending numbers from 0 to the vector's size. A slice may be empty.
        bounds: P positive numbers, in the units of the update.
        statistics: how many coordinates after the model are statistics; they are then one slice.
        indicators: how many coordinates at the end are indicators, one per slice of the model, or 0; they
            are then the last slice.
        action: 'clip' or 'normalise', see above.

    Raises:
        ValueError: for anything else.
    """

    offsets: tuple[int, ...]
    bounds: tuple[float, ...]
    statistics: int = 0
    indicators: int = 0
    action: str = "clip"

    def __post_init__(self) -> None:
        whole(statistics=self.statistics)
        whole(indicators=self.indicators)
        if self.action not in CLIP_ACTIONS:
            raise ValueError(f"Expected action to be one of {sorted(CLIP_ACTIONS)}, got {self.action!r}.")
        if len(self.offsets) != len(self.bounds) + 1 or self.offsets[0] != 0:
            raise ValueError(
                f"Expected one more offset than bounds, the first of them 0, got {len(self.offsets)} "
                f"offsets and {len(self.bounds)} bounds."
            )
        if any(end < begin for begin, end in zip(self.offsets, self.offsets[1:], strict=False)):
            raise ValueError(f"Expected ascending offsets, got {self.offsets}.")
        for index, bound in enumerate(self.bounds):
            positive(**{f"bounds[{index}]": bound})
        extras = [extra for extra in (self.statistics, self.indicators) if extra]
        if self.model_slices < 1 or self._sizes[self.model_slices :] != extras:
            raise ValueError(
                f"Expected a slice of the model and {self.statistics} statistics and {self.indicators} "
                f"indicators as slices of their own after it, got offsets {self.offsets}."
            )
        if self.indicators not in (0, self.model_slices):
            raise ValueError(
                f"Expected no indicators or one per slice of the model, {self.model_slices}, got "
                f"indicators={self.indicators}."
            )

    @classmethod
    def of(
        cls,
        rule: str,
        total: float,
        layout: LayerLayout,
        *,
        action: str = "clip",
        exponent: float = 0.25,
        statistics: int = 0,
        statistics_share: float = 0.1,
        adaptive: bool = False,
        indicators_share: float = 0.1,
    ) -> "ClipBounds":
        """The bounds that a named rule gives the layers of a model.

        Args:
            rule: 'global', 'uniform', 'dim' or 'power' (paper, Definition 3, and C_h ~ d_h^exponent).
            total: the clip bound C of one whole update.
            layout: the model's layers.
            action: 'clip' or 'normalise'.
            exponent: p of the rule 'power'; no other rule reads it.
            statistics: how many statistics follow the model in the released vector, k.
            statistics_share: the statistics' bound as a share of C, in (0, 1); unused when k is 0.
            adaptive: whether an indicator per slice of the model follows, for bounds that adapt.
            indicators_share: the indicators' bound as a share of C; unused without them.
        """
        positive(total=total)
        weights = CLIP_RULES[rule](layout.sizes, finite(exponent=exponent))
        extras = [(whole(statistics=statistics), open_probability(statistics_share=statistics_share))]
        extras += [(len(weights) * adaptive, open_probability(indicators_share=indicators_share))]
        extras = [(size, share) for size, share in extras if size]
        left = positive(share_left_to_the_model=1 - math.fsum(share * share for _, share in extras))
        scale = total * math.sqrt(left) / math.hypot(*(weight for _, weight in weights))
        sizes = [size for size, _ in (*weights, *extras)]
        bounds = [scale * weight for _, weight in weights] + [total * share for _, share in extras]
        return cls(
            offsets=tuple(accumulate(sizes, initial=0)),
            bounds=tuple(bounds),
            statistics=statistics,
            indicators=len(weights) * adaptive,
            action=action,
        )

    def with_model_bounds(self, bounds: Sequence[float]) -> "ClipBounds":
        """The same partition with other bounds on the model's slices.

        What follows the model keeps its share of the total, which moves with the model's.
        """
        scale = math.hypot(*bounds) / math.hypot(*self.bounds[: self.model_slices])
        extras = (scale * bound for bound in self.bounds[self.model_slices :])
        return replace(self, bounds=(*bounds, *extras))

    def __len__(self) -> int:
        """The number of slices, P."""
        return len(self.bounds)

    @property
    def size(self) -> int:
        """The number of coordinates of the released vector: model, statistics and indicators."""
        return self.offsets[-1]

    @property
    def model_size(self) -> int:
        """The number of coordinates of the model, d."""
        return self.size - self.statistics - self.indicators

    @property
    def statistics_part(self) -> slice:
        """Where the statistics lie in the released vector."""
        return slice(self.model_size, self.model_size + self.statistics)

    @property
    def indicators_part(self) -> slice:
        """Where the indicators lie in the released vector."""
        return slice(self.size - self.indicators, self.size)

    @property
    def _sizes(self) -> list[int]:
        return [end - begin for begin, end in pairwise(self.offsets)]

    @property
    def model_slices(self) -> int:
        """How many of the slices belong to the model."""
        return len(self.bounds) - bool(self.statistics) - bool(self.indicators)

    @cached_property
    def total(self) -> float:
        """The clip bound C of one whole update: sqrt of the sum of squared bounds."""
        return math.hypot(*self.bounds)

    @cached_property
    def groups(self) -> tuple[range, ...]:
        """Which slices are held to a bound together; what follows the model is always held alone."""
        model = CLIP_ACTIONS[self.action](self.model_slices)
        return model + tuple(range(index, index + 1) for index in range(self.model_slices, len(self)))

    def group_bound(self, group: range) -> float:
        """The bound on the norm of a group's slices together."""
        return math.hypot(*(self.bounds[index] for index in group))

    def group_size(self, group: range) -> int:
        """The number of coordinates in a group."""
        return self.offsets[group.stop] - self.offsets[group.start]
