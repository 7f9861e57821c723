"""Clip bounds: a partition of the released vector into slices, and one bound per slice.

Paper, Definition 3: the update g = (g_1 .. g_H) is clipped slice by slice to C_1 .. C_H with
C^2 = sum of C_h^2. Its whole norm then stays within C for every partition. Privacy needs only that partition
and bounds do not depend on the data of the round.

The released vector has the d coordinates of the model, then k *statistics* (loss, share of clipped slices,
...), which are one further slice. They are part of the same Gaussian event as the model. So nothing that is
computed from speakers leaves without noise, and the noise multiplier needs no split: the model's bounds
shrink by sqrt(1 - share^2), and the total stays C. With adaptive bounds, one *indicator* per slice of the
model follows in the same way (`privacy.clipping.adaptive`).

There are two actions. ``clip`` scales a slice down when its norm exceeds its own bound (Definition 3).
``normalise`` is the action of the paper's authors: nothing happens until the *whole* model update exceeds C;
then every slice is scaled to exactly its bound, small slices upwards. Both are one rule on different groups
of slices: *if a group's norm exceeds the group's bound, each of its slices is scaled to its own bound*.

*Clip groups* (`base.clip_groups`) divide C over parts of the model before a rule divides each part over its
layers. The layers lie group by group in the vector, so what a rule makes of a group is slices as ever: under
'global' a group is one slice. Nothing after the bounds knows of clip groups.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise

from base.clip_groups import ONE_GROUP, ClipGroups
from privacy.clipping.relative_bounds import relative_bounds
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
"""Each action, and how it groups the model's slices."""


@dataclass(frozen=True, kw_only=True)
class ClipBounds:
    """A data-independent partition of the released vector, with one bound per slice.

    Guarantee:
        If each of a vector's `groups` has a norm within the group's bound, the vector has a norm within
        `total`. `add_clipped_` ensures this for every update. Adding or removing one speaker then
        changes the sum by at most `total` (L2 sensitivity, zero-out or add-or-remove adjacency).

    Args:
        offsets: P + 1 ascending numbers from 0 to the vector's size. A slice may be empty.
        bounds: P positive numbers, in the units of the update.
        statistics: the number of statistics after the model; they form one slice.
        indicators: the number of indicators at the end: one per slice of the model, or 0. They form the
            last slice.
        action: 'clip' or 'normalise', see above.

    Raises:
        ValueError: for anything else.

    Example:
        >>> bounds = ClipBounds.of("dim", 1.0, LayerLayout.of({"weight": (3, 5), "bias": ()}))
        >>> bounds.offsets, [round(bound, 3) for bound in bounds.bounds], round(bounds.total, 9)
        ((0, 15, 16), [0.968, 0.25], 1.0)
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
                f"Expected at least one slice of the model, then {self.statistics} statistics and "
                f"{self.indicators} indicators as slices of their own, got offsets {self.offsets}."
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
        clip_groups: ClipGroups = ONE_GROUP,
        statistics: int = 0,
        statistics_share: float = 0.1,
        adaptive: bool = False,
        indicators_share: float = 0.1,
    ) -> "ClipBounds":
        """The bounds that a clip rule gives to the layers of a model.

        Guarantee:
            The rule is asked once per clip group. For every accepted answer, `total` is the given one to
            1e-9, and the slices cover the model exactly, or the answer is refused. The slices of a clip group
            have together the bound sqrt(share) times that of the model.

        Args:
            rule: a name in `base.registries.CLIP_RULES`: 'global', 'uniform', 'dim' or 'power' (paper,
                Definition 3, and C_h ~ d_h^exponent), or a name of another package.
            total: the clip bound C of one whole update.
            layout: the model's layers, group by group if there are clip groups.
            action: 'clip' or 'normalise'.
            exponent: p of the rule 'power'; no other rule of ours reads it.
            clip_groups: parts of the model with their shares of C^2; by default one part.
            statistics: k, the number of statistics after the model in the released vector.
            statistics_share: the statistics' bound as a share of C, in (0, 1); unused when k is 0.
            adaptive: whether one indicator per slice of the model follows, for bounds that adapt.
            indicators_share: the indicators' bound as a share of C; unused without indicators.

        Raises:
            ValueError: for a value out of range, an unknown rule, clip groups that do not fit the layout, or
                an answer of the rule that is not a partition of the model with positive, finite bounds.
        """
        positive(total=total)
        weights = relative_bounds(rule, layout, finite(exponent=exponent), clip_groups)
        extras = [(whole(statistics=statistics), open_probability(statistics_share=statistics_share))]
        extras += [(len(weights) * adaptive, open_probability(indicators_share=indicators_share))]
        extras = [(size, share) for size, share in extras if size]
        left = positive(share_left_to_the_model=1 - math.fsum(share * share for _, share in extras))
        scale = total * math.sqrt(left) / math.hypot(*(weight for _, weight in weights))
        sizes = [size for size, _ in (*weights, *extras)]
        bounds = [scale * weight for _, weight in weights] + [total * share for _, share in extras]
        made = cls(
            offsets=tuple(accumulate(sizes, initial=0)),
            bounds=tuple(bounds),
            statistics=statistics,
            indicators=len(weights) * adaptive,
            action=action,
        )
        if not math.isclose(made.total, total, rel_tol=1e-9):
            raise ValueError(
                f"The clip rule {rule!r} gave relative bounds that float64 cannot scale to C={total!r}: they "
                f"come to {made.total!r}. Let the rule return weights near 1."
            )
        return made

    def with_model_bounds(self, bounds: Sequence[float]) -> "ClipBounds":
        """The same partition with other bounds on the model's slices.

        Statistics and indicators keep their shares of the total, so their bounds change with the model's.
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
        """The statistics' part of the released vector."""
        return slice(self.model_size, self.model_size + self.statistics)

    @property
    def indicators_part(self) -> slice:
        """The indicators' part of the released vector."""
        return slice(self.size - self.indicators, self.size)

    @property
    def _sizes(self) -> list[int]:
        return [end - begin for begin, end in pairwise(self.offsets)]

    @property
    def model_slices(self) -> int:
        """The number of slices that belong to the model."""
        return len(self.bounds) - bool(self.statistics) - bool(self.indicators)

    @cached_property
    def total(self) -> float:
        """The clip bound C of one whole update: the square root of the sum of squared bounds."""
        return math.hypot(*self.bounds)

    @cached_property
    def groups(self) -> tuple[range, ...]:
        """The slices that share a bound. Statistics and indicators are always groups of their own."""
        model = CLIP_ACTIONS[self.action](self.model_slices)
        return model + tuple(range(index, index + 1) for index in range(self.model_slices, len(self)))

    def group_bound(self, group: range) -> float:
        """The bound on the norm of all slices of a group together."""
        return math.hypot(*(self.bounds[index] for index in group))

    def group_size(self, group: range) -> int:
        """The number of coordinates in a group."""
        return self.offsets[group.stop] - self.offsets[group.start]
