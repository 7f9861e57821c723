"""What turns a cohort's updates into a release: plan, clip bounds, quantisation and the shape of the noise.

Guarantee: a `Mechanism` exists only if its parts fit together. Its noise is made from its plan, so no noise
can differ from what the plan accounts for.
"""

from __future__ import annotations

from dataclasses import dataclass

from privacy import ClipBounds, LayerLayout, PrivacyPlan, QuantileClip, Quantiser
from privacy.clipping.adaptive import half_bit_in_steps
from privacy.clipping.quantisation import squared_limits
from privacy.group_statistics import RunStatistics, bounds_with_statistics
from privacy.noise.shape import relative_stds
from privacy.released_metrics import STATISTICS, unit_in_steps


@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """The private release of one round, as a strategy makes it.

    Args:
        plan: Sampler, noise multiplier and accountant.
        bounds: Clip bounds of the released vector: the model's d coordinates, then the statistics, then one
            indicator for each slice if the bounds adapt.
        quantiser: The integer quantisation of `bounds`.
        noise_shape: How the noise is spread over the slices, by its registered name (`privacy.noise.shape`).
        adaptive: How the bounds follow the updates; None for fixed bounds.

    Raises:
        ValueError: If the parts do not fit together. Nothing has been drawn or spent then.

    Example:
        >>> layout = LayerLayout.of({"weight": (3, 2), "bias": (2,)})
        >>> plan = PrivacyPlan(population=1000, cohort=50.0, rounds=20, noise_multiplier=1.0, delta=1e-5)
        >>> mechanism = Mechanism.of(plan, layout, clip_bound=0.5)
        >>> mechanism.bounds.model_size, round(mechanism.bounds.total, 6)
        (8, 0.5)
    """

    plan: PrivacyPlan
    bounds: ClipBounds
    quantiser: Quantiser
    noise_shape: str = "isotropic"
    adaptive: QuantileClip | None = None

    def __post_init__(self) -> None:
        bounds, quantiser = self.bounds, self.quantiser
        if bounds.statistics < len(STATISTICS):
            raise ValueError(
                f"the bounds have {bounds.statistics} statistics, every run has {len(STATISTICS)} or more: "
                "make them by `bounds_with_statistics`"
            )
        _ = squared_limits(bounds, quantiser)  # refuses a quantiser of other bounds
        _ = relative_stds(self.noise_shape, bounds)  # refuses a shape that these bounds do not allow
        self._require_fine_steps()
        self._require_adaptive_bounds()

    @classmethod
    def of(
        cls,
        plan: PrivacyPlan,
        layout: LayerLayout,
        *,
        clip_bound: float,
        clip_rule: str = "dim",
        quantisation_bits: int = 20,
        noise_shape: str = "isotropic",
        adaptive: QuantileClip | None = None,
        group_statistics: bool = False,
    ) -> Mechanism:
        """The mechanism for a model with this layout.

        Args:
            plan: Sampler, noise multiplier and accountant.
            layout: Names and shapes of the model's coordinates.
            clip_bound: C, the largest L2 norm of one participant's whole update.
            clip_rule: The registered rule that splits C over the layers.
            quantisation_bits: The clip bound has ``2**quantisation_bits`` steps.
            noise_shape: How the noise is spread over the slices.
            adaptive: How the bounds follow the updates; None for fixed bounds.
            group_statistics: Whether statistics by group of layers are released too, at no epsilon
                (`privacy.group_statistics`).
        """
        bounds = bounds_with_statistics(
            clip_rule, clip_bound, layout, by_group=group_statistics, adaptive=adaptive is not None
        )
        return cls(
            plan=plan,
            bounds=bounds,
            quantiser=Quantiser.of(bounds, bits=quantisation_bits),
            noise_shape=noise_shape,
            adaptive=adaptive,
        )

    def require_fit(self, layout: LayerLayout, population: int) -> None:
        """Check the mechanism against the model and the population of a run.

        Raises:
            ValueError: If it was made for another layout or another number of speakers, or has another number
                of statistics than a run of this layout.
        """
        if population != self.plan.population:
            raise ValueError(
                f"the plan is for {self.plan.population} speakers, the nodes hold {population}: make the "
                "plan for the population that the nodes hold"
            )
        if self.bounds.model_size != layout.size:
            raise ValueError(
                f"the bounds are for {self.bounds.model_size} coordinates, the layout has {layout.size}: "
                "make the bounds for this layout"
            )
        RunStatistics.in_bounds(layout, self.bounds)  # refuses another number of statistics

    def _require_fine_steps(self) -> None:
        bounds, quantiser = self.bounds, self.quantiser
        indicators_fit = not bounds.indicators or half_bit_in_steps(bounds, quantiser)
        if not unit_in_steps(bounds, quantiser) or not indicators_fit:
            raise ValueError(
                f"a quantisation of {quantiser.bits} bits is too coarse for statistics: give it more"
            )

    def _require_adaptive_bounds(self) -> None:
        plan, bounds, adaptive = self.plan, self.bounds, self.adaptive
        if plan.bands > 1 and adaptive is not None and self.noise_shape != "isotropic":
            raise ValueError(
                f"bands={plan.bands} with noise_shape={self.noise_shape!r} and adaptive clipping: correlated "
                "noise cannot change its shape between rounds; use 'isotropic'"
            )
        if (adaptive is None) != (bounds.indicators == 0):
            raise ValueError(
                f"adaptive clipping is {'off' if adaptive is None else 'on'} and the bounds have "
                f"{bounds.indicators} indicators: make the bounds with adaptive={adaptive is not None}"
            )
