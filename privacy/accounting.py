"""From what was released to epsilon: two independent upper bounds, of which the smaller is the claim.

A `Release` is Gaussian noise on a Poisson-sampled sum. The noise multiplier z is always the standard
deviation of the noise *on the sum* in units of the clip bound C. Adjacency is zero-out (equally,
add-or-remove) of one person, for whom both accountants are exact about the sampling:

* RDP: opacus' Renyi moments at our own list of orders, converted by Balle et al. 2020, Theorem 21. It
  reproduces the paper, costs milliseconds and adds up over rounds.
* PLD: dp_accounting's privacy loss distributions, pessimistic at every discretisation interval: a coarser
  interval is faster and claims more epsilon, never less. Its Fourier transforms round, which at a tiny delta
  would claim too little (12.137 for 12.163 at 1e-14); so that much of delta is set aside.

opacus' GaussianAccountant (a central limit approximation, up to 60 times too low) is not to be used here.
"""

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from privacy.opacus_rdp import rdp_analysis
from privacy.validate import finite, open_probability, probability, whole

ORDERS: tuple[float, ...] = (
    *(1.01, 1.02, 1.05),
    *(round(1.1 + 0.05 * step, 2) for step in range(198)),
    *map(float, range(11, 128)),
    *(160.0, 192.0, 256.0, 384.0, 512.0, 768.0, 1024.0),
)
"""Renyi orders: opacus' own stop at 63, below which no epsilon under 0.25 is ever reported at delta 1e-9."""

USUAL_ORDERS: tuple[float, ...] = (*(1 + tenth / 10 for tenth in range(1, 100)), *map(float, range(12, 64)))
"""opacus' own orders: what papers print. A looser bound than ours (7.2228 for 7.2122 at the 7.2 headline)."""

COARSE_ORDERS: tuple[float, ...] = (
    1.01,
    1.1,
    1.25,
    1.5,
    2.0,
    2.5,
    3.0,
    4.0,
    6.0,
    8.0,
    16.0,
    32.0,
    64.0,
    256.0,
)
"""A few orders: a bound a little looser, found twenty times faster, for where a search begins."""

MIN_NOISE_MULTIPLIER, MAX_NOISE_MULTIPLIER = 1e-4, 1e5
_FOR_OVERFLOW = 0.01  # the share of delta kept for cohorts that a cap cut down
_PLD_INTERVAL, _FINE_PLD_INTERVAL, _PLD_POINTS = 5e-4, 1e-4, 1e5
_WHOLE_ORDERS_FROM = 100.0  # noise multiplier
_PLD_ROUNDING = 2.0**-52  # of delta, a release; measured against closed forms: 0.2 of it at most

Vector = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Release:
    """``count`` releases of a sum over a Poisson cohort with Gaussian noise.

    Args:
        sampling_rate: the probability q, in [0, 1], that one person takes part in one release.
        noise_multiplier: the noise's standard deviation on the sum over the clip bound, z; 0 for none.
        count: how many of them.
        cohort_cap: if above 0, a cohort larger than this is cut down to a uniformly random subset of it
            (a truncated Poisson sample).
        population: how many people there are; needed with a cap, 0 without one.

    Raises:
        ValueError: for NaN, infinity, or a value out of range.
    """

    sampling_rate: float
    noise_multiplier: float
    count: int = 1
    cohort_cap: int = 0
    population: int = 0

    def __post_init__(self) -> None:
        whole(whole(cohort_cap=self.cohort_cap), population=self.population)
        if self.population and not self.cohort_cap:
            raise ValueError(f"Expected population=0 without a cohort_cap, got {self.population}.")
        probability(sampling_rate=self.sampling_rate)
        noise_multiplier = finite(noise_multiplier=self.noise_multiplier)
        if noise_multiplier and not MIN_NOISE_MULTIPLIER <= noise_multiplier <= MAX_NOISE_MULTIPLIER:
            raise ValueError(
                f"Expected noise_multiplier to be 0 (no privacy) or in [{MIN_NOISE_MULTIPLIER}, "
                f"{MAX_NOISE_MULTIPLIER:g}], got noise_multiplier={noise_multiplier!r}."
            )
        whole(count=self.count)


@dataclass(frozen=True, kw_only=True)
class Epsilon:
    """Upper bounds on epsilon at one delta: ``rdp`` with its Renyi order, ``pld`` if it was computed."""

    rdp: float
    order: float
    pld: float | None = None

    @property
    def value(self) -> float:
        """The claim: the smaller of the valid bounds."""
        return self.rdp if self.pld is None else min(self.rdp, self.pld)

    @property
    def accountant(self) -> str:
        """The name of the bound that is the claim."""
        return "RDP" if self.pld is None or self.rdp <= self.pld else "PLD"


def merge(releases: Iterable[Release]) -> tuple[Release, ...]:
    """The same releases with equal ones counted together; those that reveal nothing are left out."""
    counts: dict[tuple[float, float, int, int], int] = {}
    for release in releases:
        if release.sampling_rate and release.count:
            numbers = (float(release.sampling_rate), float(release.noise_multiplier))
            kind = (*numbers, release.cohort_cap, release.population)
            counts[kind] = counts.get(kind, 0) + release.count
    return tuple(
        Release(
            sampling_rate=rate, noise_multiplier=noise, cohort_cap=cap, population=population, count=count
        )
        for (rate, noise, cap, population), count in sorted(counts.items())
    )


def rdp_epsilon(
    releases: Iterable[Release], delta: float, orders: tuple[float, ...] = ORDERS
) -> tuple[float, float]:
    """Epsilon of all releases together by Renyi differential privacy.

    The moments of each pair (q, z) are computed once and kept, so a running total takes microseconds.

    For capped cohorts no Renyi moments are known. They are accounted for as uncapped ones, from which they
    differ with the probability m that any cohort overflows: (epsilon, delta') of the uncapped releases is
    (epsilon, delta' + (1 + e^epsilon) m) of the capped ones. A hundredth of delta is kept for the second
    term; where that is too little the answer is infinity (and PLD has a better one).

    Guarantee:
        An upper bound, at every list of orders; more releases never lower it. Nothing released is (0, 0).

    Returns:
        Epsilon, and the order that gave it (infinity for an epsilon of 0 or infinity).
    """
    open_probability(delta=delta)
    merged = merge(releases)
    if not merged:
        return 0.0, math.inf
    if any(release.noise_multiplier == 0 for release in merged):
        return math.inf, math.inf
    moments = np.asarray(
        sum(
            release.count * _moments(release.sampling_rate, release.noise_multiplier, orders)
            for release in merged
        )
    )
    overflow = math.fsum(release.count * _overflow_probability(release) for release in merged)
    if not overflow:
        return _convert(moments, delta, orders)
    epsilon, order = _convert(moments, delta * (1 - _FOR_OVERFLOW), orders)
    fits = np.logaddexp(0, epsilon) + math.log(overflow) <= math.log(delta * _FOR_OVERFLOW)
    return (epsilon, order) if fits else (math.inf, math.inf)


def without_caps(releases: Iterable[Release]) -> tuple[Release, ...]:
    """The same releases without their caps: no bound for capped ones, but a quick first look."""
    return tuple(replace(release, cohort_cap=0, population=0) for release in releases)


def _overflow_probability(release: Release) -> float:
    """The probability that one Poisson cohort is larger than its cap."""
    from scipy.stats import binom

    if not release.cohort_cap:
        return 0.0
    return float(binom.sf(release.cohort_cap, release.population, release.sampling_rate))


def _convert(moments: Vector, delta: float, orders: tuple[float, ...]) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "expand the range of alphas": a looser bound, still a bound
        epsilon, order = rdp_analysis().get_privacy_spent(orders=list(orders), rdp=moments, delta=delta)
    return max(0.0, float(epsilon)), float(order)


@lru_cache(maxsize=1024)
def _moments(rate: float, noise: float, orders: tuple[float, ...]) -> Vector:
    """The Renyi divergence of one release at each order; infinity where an order cannot be computed.

    Never below 0, as rounding would have it where there is hardly any divergence. With much noise opacus'
    series at fractional orders run for minutes (q = 1/2); the next whole order's divergence is no smaller.
    """
    compute_rdp = rdp_analysis().compute_rdp

    def at(order: float) -> float:
        order = float(math.ceil(order)) if noise > _WHOLE_ORDERS_FROM else order
        try:
            divergences = compute_rdp(q=rate, noise_multiplier=noise, steps=1, orders=[order])
            return float(divergences[0])
        except (ValueError, OverflowError):  # to drop an order leaves the minimum an upper bound
            return math.inf

    moments: Vector = np.array([at(order) for order in orders], dtype=np.float64)
    moments[np.isnan(moments)] = math.inf
    np.maximum(moments, 0.0, out=moments)
    moments.setflags(write=False)
    return moments


def pld_epsilon(releases: Iterable[Release], delta: float) -> float:
    """Epsilon of all releases together by privacy loss distributions.

    The interval is 5e-4, then 1e-4 if epsilon is below 1; where RDP already shows an epsilon of 50
    or more it grows with it, so that the answer takes seconds at most.

    Guarantee:
        An upper bound at every interval; infinity where the library gives up, or where its rounding could
        make up half of delta (below 1e-12 for 2,000 releases).
    """
    open_probability(delta=delta)
    merged = merge(releases)
    if not merged:
        return 0.0
    rough, _ = rdp_epsilon(without_caps(merged), delta, COARSE_ORDERS)
    if not math.isfinite(rough):
        return math.inf
    epsilon = _pld_at(merged, delta, max(_PLD_INTERVAL, rough / _PLD_POINTS))
    return epsilon if epsilon >= 1 else min(epsilon, _pld_at(merged, delta, _FINE_PLD_INTERVAL))


@lru_cache(maxsize=256)
def _pld_at(releases: tuple[Release, ...], delta: float, interval: float) -> float:
    from dp_accounting import NeighboringRelation
    from dp_accounting.pld import PLDAccountant

    rounding = _PLD_ROUNDING * sum(release.count for release in releases)
    if rounding > delta / 2:
        return math.inf
    accountant = PLDAccountant(NeighboringRelation.REPLACE_SPECIAL, value_discretization_interval=interval)
    try:
        for release in releases:
            accountant.compose(_event(release), release.count)
        epsilon = float(accountant.get_epsilon(delta - rounding))
    except (ArithmeticError, MemoryError, ValueError):
        return math.inf
    return math.inf if math.isnan(epsilon) else max(0.0, epsilon)


def _event(release: Release) -> object:
    """One release in dp_accounting's words."""
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, dp_event

    if not release.cohort_cap:
        return PoissonSampledDpEvent(release.sampling_rate, GaussianDpEvent(release.noise_multiplier))
    return dp_event.TruncatedSubsampledGaussianDpEvent(
        dataset_size=release.population,
        sampling_probability=release.sampling_rate,
        truncated_batch_size=release.cohort_cap,
        noise_multiplier=release.noise_multiplier,
    )


def epsilon(releases: Iterable[Release], delta: float, pld: bool = True) -> Epsilon:
    """Epsilon of all releases together, by RDP and, if asked, by PLD."""
    merged = merge(releases)
    rdp, order = rdp_epsilon(merged, delta)
    return Epsilon(rdp=rdp, order=order, pld=pld_epsilon(merged, delta) if pld else None)
