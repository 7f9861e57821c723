"""Privacy loss distributions of releases, by dp_accounting: tighter than Renyi moments, in seconds.

Guarantee: every number here is an upper bound, at every discretisation interval. The library's Fourier
transforms have rounding errors; what they could hide is subtracted from delta, or added to it.
"""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from privacy.accounting.releases import Release, merge
from privacy.accounting.renyi import COARSE_ORDERS, rdp_epsilon
from privacy.validate import open_probability, whole

_PLD_INTERVAL, _FINE_PLD_INTERVAL, _PLD_POINTS = 5e-4, 1e-4, 1e5
_DEVICES_INTERVAL = 2e-2  # losses of mixtures need a slow search; this interval loses about 2 % at most
_DEVICES_RELEASES = 125.0  # with more releases the interval is finer, because the losses add up
_PLD_ROUNDING = 2.0**-52  # of delta, per release; measured against closed forms: at most 0.2 of it


def pld_epsilon(releases: Iterable[Release], delta: float, devices: int = 1) -> float:
    """Epsilon of all releases together by privacy loss distributions.

    The interval is 5e-4, then 1e-4 if epsilon is below 1 (for several devices 2e-2 down to 5e-3). If RDP
    already shows an epsilon of 50 or more, the interval grows with it, so that the answer takes seconds at
    most.

    Args:
        releases: what was released; without caps if ``devices`` is above 1.
        delta: the probability with which epsilon may fail.
        devices: the number of speakers of one person, each drawn by a coin of its own and clipped to C. Their
            sum over C is at most a mixture over the number of drawn ones, Binomial(devices, q); with Gaussian
            noise this is a mixture of Gaussians (Ganesh 2024, arXiv 2401.10294).

    Guarantee:
        An upper bound at every interval. It is infinity where the library fails, or where its rounding could
        be half of delta (below 1e-12 for 2,000 releases).

    Raises:
        ValueError: for capped releases and several devices, because a cap makes the devices' coins dependent.
    """
    open_probability(delta=delta)
    merged = merge(releases)
    if whole(1, devices=devices) > 1 and any(release.cohort_cap for release in merged):
        raise ValueError(f"Expected devices=1 for releases with a cohort_cap, got devices={devices}.")
    if not merged:
        return 0.0
    interval = _interval(merged, delta)
    if devices > 1:
        return _pld_at(merged, delta, max(_devices_interval(merged), interval), devices)
    epsilon = _pld_at(merged, delta, interval)
    if not 0 < epsilon < 1:  # 0 cannot improve, and with little noise the finer interval takes minutes
        return epsilon
    return min(epsilon, _pld_at(merged, delta, _FINE_PLD_INTERVAL))


def pld_delta(releases: Iterable[Release], epsilon: float, delta: float) -> float:
    """The delta at an ``epsilon``, at most 1, at the interval that `pld_epsilon` uses for ``delta``."""
    merged = merge(releases)
    if not merged:
        return 0.0
    found = _composed(merged, _interval(merged, open_probability(delta=delta)), 1)
    try:
        reached = 1.0 if found is None else float(found.get_delta(epsilon)) + _rounding(merged)
    except (ArithmeticError, MemoryError, ValueError):
        return 1.0
    return reached if reached < 1 else 1.0  # NaN too


def _interval(merged: tuple[Release, ...], delta: float) -> float:
    """The discretisation interval; infinity if RDP gives no limit on the losses."""
    rough, _ = rdp_epsilon(merged, delta, COARSE_ORDERS)
    return max(_PLD_INTERVAL, rough / _PLD_POINTS)


def _devices_interval(merged: tuple[Release, ...]) -> float:
    count = sum(release.count for release in merged)
    return _DEVICES_INTERVAL * min(1.0, max(0.25, math.sqrt(_DEVICES_RELEASES / count)))


def _rounding(releases: tuple[Release, ...]) -> float:
    return _PLD_ROUNDING * sum(release.count for release in releases)


@lru_cache(maxsize=256)
def _pld_at(releases: tuple[Release, ...], delta: float, interval: float, devices: int = 1) -> float:
    rounding = _rounding(releases)
    if rounding > delta / 2 or (found := _composed(releases, interval, devices)) is None:
        return math.inf
    try:
        epsilon = float(found.get_epsilon(delta - rounding))
    except (ArithmeticError, MemoryError, ValueError):
        return math.inf
    return math.inf if math.isnan(epsilon) else max(0.0, epsilon)


@lru_cache(maxsize=4)
def _composed(releases: tuple[Release, ...], interval: float, devices: int) -> Any:
    """dp_accounting's accountant after all releases; None if it fails."""
    from dp_accounting import NeighboringRelation
    from dp_accounting.pld import PLDAccountant

    if not math.isfinite(interval):
        return None
    accountant = PLDAccountant(NeighboringRelation.REPLACE_SPECIAL, value_discretization_interval=interval)
    try:
        for release in releases:
            accountant.compose(_event(release, devices), release.count)
    except (ArithmeticError, MemoryError, ValueError):
        return None
    return accountant


def _event(release: Release, devices: int) -> object:
    """One release as an event of dp_accounting."""
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, dp_event

    if release.cohort_cap:
        return dp_event.TruncatedSubsampledGaussianDpEvent(
            dataset_size=release.population,
            sampling_probability=release.sampling_rate,
            truncated_batch_size=release.cohort_cap,
            noise_multiplier=release.noise_multiplier,
        )
    if devices > 1 and release.sampling_rate < 1:
        return _of_devices(release, devices)
    one = GaussianDpEvent(release.noise_multiplier / devices)
    return PoissonSampledDpEvent(release.sampling_rate, one)


def _of_devices(release: Release, devices: int) -> object:
    from dp_accounting import dp_event
    from scipy.stats import binom

    drawn = range(devices + 1)
    return dp_event.MixtureOfGaussiansDpEvent(
        standard_deviation=release.noise_multiplier,
        sensitivities=[float(count) for count in drawn],
        sampling_probs=[float(binom.pmf(count, devices, release.sampling_rate)) for count in drawn],
    )
