"""How one noise multiplier is laid out over the slices of the released vector.

Noise N(0, sigma_h^2 I) on slice h is, after dividing each slice by its sigma_h, the Gaussian mechanism with
unit noise and sensitivity sqrt(sum of (C_h / sigma_h)^2). So whatever the shape, z is one number,

    1 / z^2 = sum over the slices of (C_h / sigma_h)^2        (the joint rule)

and a round is one event: the sampling is shared, and nothing is composed over slices. The rule needs every
slice to be held to its own bound. Where slices are held to a bound together (the action 'normalise'), an
update may put the whole bound into one of them, and only equal noise within such a group is allowed.

A shape gives the *relative* standard deviations r_h = sigma_h / (z C); 'isotropic' is 1 throughout.
"""

import math
from collections.abc import Callable

from base.registries import NOISE_SHAPES
from privacy.clipping.bounds import ClipBounds

NoiseShape = Callable[[ClipBounds], tuple[float, ...]]
"""From the bounds to one relative standard deviation per slice."""


def relative_stds(shape: str, bounds: ClipBounds) -> tuple[float, ...]:
    """Of each slice the noise's standard deviation in units of z C.

    Guarantee:
        The joint rule holds: noise of these standard deviations times z C has noise multiplier at least
        z (to a relative 1e-9) for every update within the bounds. A shape that breaks it is refused.

    Raises:
        ValueError: for an unknown shape, or one that these bounds do not allow.
    """
    layout: NoiseShape = NOISE_SHAPES[shape]
    relative = layout(bounds)
    if not joint_multiplier(bounds, relative) >= 1 - 1e-9:
        raise ValueError(
            f"The noise shape {shape!r} breaks the joint rule for clip action {bounds.action!r}: slices "
            f"that are held to a bound together need equal noise. Use 'isotropic' or the clip action 'clip'."
        )
    return relative


def joint_multiplier(bounds: ClipBounds, stds: tuple[float, ...]) -> float:
    """The noise multiplier z of noise with these standard deviations, in units of C, by the joint rule.

    A group of slices that share a bound counts with that bound and the least noise in it.
    """
    if len(stds) != len(bounds):
        raise ValueError(f"Expected {len(bounds)} standard deviations, one per slice, got {len(stds)}.")
    ratios = (
        bounds.group_bound(group) / bounds.total / min(stds[index] for index in group)
        for group in bounds.groups
    )
    return 1 / math.hypot(*ratios)


def isotropic(bounds: ClipBounds) -> tuple[float, ...]:
    """The same noise on every coordinate."""
    return (1.0,) * len(bounds)


def variance_optimal(bounds: ClipBounds) -> tuple[float, ...]:
    """The least total variance on the model at a given z: sigma_h ~ sqrt(C_h) / d_h^(1/4).

    By Cauchy-Schwarz the total is z^2 (sum C_h sqrt(d_h))^2, equal to that of isotropic noise exactly when
    C_h ~ sqrt(d_h), the clip rule 'dim'. Statistics and indicators keep their isotropic noise: they are few
    and their bounds small, so that the optimum would drown them for nothing.
    """
    model = range(bounds.model_slices)
    sizes = [max(1, bounds.group_size(range(index, index + 1))) for index in model]
    costs = [bounds.bounds[index] * math.sqrt(size) for index, size in zip(model, sizes, strict=True)]
    # (C_h / sigma_h)^2 is the slice's part of 1 / z^2; the parts of the model add up to (C_model / C)^2.
    model_bound = math.hypot(*bounds.bounds[: bounds.model_slices])
    factor = math.sqrt(math.fsum(costs)) / model_bound
    relative = [
        factor * bounds.bounds[index] / math.sqrt(cost) for index, cost in zip(model, costs, strict=True)
    ]
    return (*relative, *(1.0,) * (len(bounds) - bounds.model_slices))
