"""The least noise for which a run stays within a target epsilon.

Epsilon falls as noise grows, so this is the search of a root in one dimension. RDP at a few orders finds the
neighbourhood of the root. Then the bounds that the run will claim finish the search.
"""

import math
from collections.abc import Callable

from privacy.accounting.epsilon import (
    COARSE_ORDERS,
    MAX_NOISE_MULTIPLIER,
    MIN_NOISE_MULTIPLIER,
    Release,
    pld_epsilon,
    rdp_epsilon,
)
from privacy.validate import open_probability, positive, whole


def calibrate_noise_multiplier(
    *,
    target_epsilon: float,
    delta: float,
    sampling_rate: float,
    rounds: int,
    cohort_cap: int = 0,
    population: int = 0,
) -> float:
    """The least noise multiplier whose smaller bound meets a target, to one part in ten thousand.

    Args:
        target_epsilon: the target.
        delta: the probability with which epsilon may fail.
        sampling_rate: as in `Release`.
        rounds: the number of releases.
        cohort_cap: as in `Release`.
        population: as in `Release`.

    Guarantee:
        ``epsilon([Release(q, z, rounds)], delta).value <= target_epsilon`` for the z returned.

    Raises:
        ValueError: if no noise multiplier in the supported range meets the target.
    """
    positive(target_epsilon=target_epsilon)
    open_probability(delta=delta)
    whole(1, rounds=rounds)

    def run(noise: float) -> list[Release]:
        return [
            Release(
                sampling_rate=sampling_rate,
                noise_multiplier=noise,
                count=rounds,
                cohort_cap=cohort_cap,
                population=population,
            )
        ]

    def rough(noise: float) -> float:
        return _log_ratio(rdp_epsilon(run(noise), delta, COARSE_ORDERS)[0], target_epsilon)

    def excess(noise: float) -> float:
        by_pld = pld_epsilon(run(noise), delta)
        by_rdp, _ = rdp_epsilon(run(noise), delta, COARSE_ORDERS)
        if by_rdp < by_pld:  # then the claim will be RDP, at all its orders
            by_rdp, _ = rdp_epsilon(run(noise), delta)
        return _log_ratio(min(by_rdp, by_pld), target_epsilon)

    start = _least(rough, start=1.0, stride=2.0, tolerance=1e-2)
    return _least(excess, start=start, stride=1.1, tolerance=1e-4)


def _log_ratio(value: float, target: float) -> float:
    return math.log(value / target) if 0 < value < math.inf else math.copysign(math.inf, value - target)


def _least(excess: Callable[[float], float], *, start: float, stride: float, tolerance: float) -> float:
    """The least noise at which a falling ``excess`` is not above 0, to a relative tolerance, never too low.

    It brackets the root with growing strides, then runs false position (Illinois) over the logarithm of
    noise.
    """
    low = high = start
    above = below = excess(start)
    while below > 0:
        if high >= MAX_NOISE_MULTIPLIER:
            raise ValueError(
                f"No noise multiplier up to {MAX_NOISE_MULTIPLIER:g} meets the target epsilon: "
                f"use a higher epsilon or delta, fewer rounds or a lower sampling rate."
            )
        low, above = high, below
        high = min(high * stride, MAX_NOISE_MULTIPLIER)
        below, stride = excess(high), stride * stride
    while above <= 0:
        if low <= MIN_NOISE_MULTIPLIER:
            return low
        high, below = low, above
        low = max(low / stride, MIN_NOISE_MULTIPLIER)
        above, stride = excess(low), stride * stride
    return _false_position(excess, (low, above), (high, below), tolerance)


def _false_position(
    excess: Callable[[float], float],
    over: tuple[float, float],
    under: tuple[float, float],
    tolerance: float,
) -> float:
    (low, above), (high, below) = over, under
    retained = 0
    while high > low * (1 + tolerance):
        share = above / (above - below) if math.isfinite(above - below) else 0.5
        middle = low * (high / low) ** min(max(share, 0.01), 0.99)
        value = excess(middle)
        if value > 0:
            low, above = middle, value
            below, retained = (below / 2 if retained == 1 else below), 1
        else:
            high, below = middle, value
            above, retained = (above / 2 if retained == -1 else above), -1
    return high
