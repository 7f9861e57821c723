"""Noise shapes: how one noise multiplier is distributed over the slices of the released vector.

Take noise N(0, sigma_h^2 I) on slice h, and divide each slice by its sigma_h. The result is the Gaussian
mechanism with unit noise and sensitivity sqrt(sum of (C_h / sigma_h)^2). So for every shape z is one number,

    1 / z^2 = sum over the slices of (C_h / sigma_h)^2        (the joint rule)

and a round is one event: all slices share the sampling, and nothing is composed over slices. The rule needs a
bound for each slice. Where several slices share one bound (the action 'normalise'), an update may put the
whole bound into one of them: such a group counts with its least noise.

A shape returns the *relative* standard deviations r_h = sigma_h / (z C). 'isotropic' is 1 everywhere.

Guarantee (`relative_stds`): the answer of every shape, also of another package's, is checked each time it is
asked. A shape with too little noise is an error, never a wrong epsilon.
"""

import math
from collections.abc import Callable, Iterable

from base.registries import NOISE_SHAPES
from privacy.clipping.bounds import ClipBounds
from privacy.validate import positive

NoiseShape = Callable[[ClipBounds], tuple[float, ...]]
"""A function from the bounds to one relative standard deviation per slice."""


def relative_stds(shape: str, bounds: ClipBounds) -> tuple[float, ...]:
    """The noise's standard deviation of each slice, in units of z C.

    Guarantee:
        The joint rule holds: noise of these standard deviations times z C has noise multiplier at least
        z (to a relative 1e-9) for every update within the bounds. A shape that breaks the rule is refused.

    Raises:
        ValueError: for an unknown shape, for an answer that is not one positive number per slice, or for a
            shape that gives too little noise for these bounds.

    Example:
        >>> relative_stds("isotropic", ClipBounds(offsets=(0, 4, 6), bounds=(3.0, 4.0)))
        (1.0, 1.0)
    """
    layout: NoiseShape = NOISE_SHAPES[shape]
    relative = _plain(shape, layout(bounds))
    if not (joint := joint_multiplier(bounds, relative)) >= 1 - 1e-9:
        raise ValueError(
            f"The noise shape {shape!r} breaks the joint rule for clip action {bounds.action!r}: it gives "
            f"{joint:.6g} times the noise multiplier of the plan. Slices that share a bound need equal "
            "noise. Use 'isotropic', or the clip action 'clip'."
        )
    return relative


def _plain(shape: str, answer: Iterable[float]) -> tuple[float, ...]:
    """A shape's answer as numbers of our own, each finite and above 0 (the joint rule squares them)."""
    try:
        stds = tuple(float(std) for std in answer)
    except TypeError as error:
        raise ValueError(f"The noise shape {shape!r} returned no numbers: {error}.") from error
    for index, std in enumerate(stds):
        positive(**{f"standard deviation of slice {index} by the noise shape {shape!r}": std})
    return stds


def joint_multiplier(bounds: ClipBounds, stds: tuple[float, ...]) -> float:
    """The noise multiplier z of noise with these standard deviations, by the joint rule.

    A group of slices that share a bound counts with that bound and with the least noise in it.

    Args:
        bounds: the clip bounds.
        stds: one positive standard deviation per slice, in units of C.

    Raises:
        ValueError: for another number of standard deviations.
    """
    if len(stds) != len(bounds):
        raise ValueError(f"Expected {len(bounds)} standard deviations, one per slice, got {len(stds)}.")
    ratios = (
        bounds.group_bound(group) / bounds.total / min(stds[index] for index in group)
        for group in bounds.groups
    )
    return 1 / math.hypot(*ratios)


def isotropic(bounds: ClipBounds) -> tuple[float, ...]:
    """Equal noise on every coordinate."""
    return (1.0,) * len(bounds)


def variance_optimal(bounds: ClipBounds) -> tuple[float, ...]:
    """The least total variance on the model for a given z: sigma_h ~ sqrt(C_h) / d_h^(1/4).

    By Cauchy-Schwarz the total is z^2 (sum C_h sqrt(d_h))^2. It equals the total of isotropic noise exactly
    when C_h ~ sqrt(d_h), which is the clip rule 'dim'. Statistics and indicators keep isotropic noise: they
    are few and their bounds are small, so the optimum would hide them in noise and gain nothing.
    """
    model = range(bounds.model_slices)
    sizes = [max(1, bounds.group_size(range(index, index + 1))) for index in model]
    costs = [bounds.bounds[index] * math.sqrt(size) for index, size in zip(model, sizes, strict=True)]
    # (C_h / sigma_h)^2 is a slice's part of 1 / z^2. The parts of the model add up to (C_model / C)^2.
    model_bound = math.hypot(*bounds.bounds[: bounds.model_slices])
    factor = math.sqrt(math.fsum(costs)) / model_bound
    relative = [
        factor * bounds.bounds[index] / math.sqrt(cost) for index, cost in zip(model, costs, strict=True)
    ]
    return (*relative, *(1.0,) * (len(bounds) - bounds.model_slices))
