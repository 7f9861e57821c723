"""Renyi differential privacy of releases: divergences at many orders, their sums, and their epsilon."""

import math
import warnings
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from privacy.accounting.opacus_rdp import rdp_analysis
from privacy.accounting.releases import Release, merge
from privacy.accounting.truncated_sampling import mix_moments, truncation
from privacy.validate import open_probability

ORDERS: tuple[float, ...] = (
    *(1.01, 1.02, 1.05),
    *(round(1.1 + 0.05 * step, 2) for step in range(198)),
    *map(float, range(11, 128)),
    *(160.0, 192.0, 256.0, 384.0, 512.0, 768.0, 1024.0),
)
"""Renyi orders. opacus' own orders end at 63; with them no epsilon below 0.25 is reported at delta 1e-9."""

USUAL_ORDERS: tuple[float, ...] = (*(1 + tenth / 10 for tenth in range(1, 100)), *map(float, range(12, 64)))
"""opacus' own orders, which papers use. Their bound is looser than ours (7.2228 for 7.2122 in the paper)."""

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
"""A few orders, for the start of a search: the bound is a little looser, and twenty times faster."""

_WHOLE_ORDERS_FROM = 100.0  # noise multiplier
_ROUNDING = 2.0**-40  # of the logarithm of a moment; opacus ends its series at exp(-30), about 2^-43

Vector = np.ndarray[tuple[int], np.dtype[np.float64]]


def rdp_epsilon(
    releases: Iterable[Release], delta: float, orders: tuple[float, ...] = ORDERS
) -> tuple[float, float]:
    """Epsilon of all releases together by Renyi differential privacy.

    The moments of each pair (q, z) are computed once and kept, so a running total takes microseconds. Capped
    cohorts have moments of their own (`privacy.accounting.truncated_sampling`).

    Guarantee:
        An upper bound, for every list of orders; more releases never lower it. Without releases epsilon is 0.

    Returns:
        Epsilon, and its order (infinity for an epsilon of 0 or infinity).
    """
    open_probability(delta=delta)
    merged = merge(releases)
    if not merged:
        return 0.0, math.inf
    if any(release.noise_multiplier == 0 for release in merged):
        return math.inf, math.inf
    return _convert(moments_of(merged, orders), delta, orders)


def moments_of(releases: Iterable[Release], orders: tuple[float, ...] = ORDERS) -> Vector:
    """The Renyi divergences of all releases together, at each order; infinite without noise."""
    total = np.zeros(len(orders))
    for release in merge(releases):
        total = total + release.count * _one(release, orders)
    return total


def _one(release: Release, orders: tuple[float, ...]) -> Vector:
    """The divergence of one of the releases at each order."""
    if release.noise_multiplier == 0:
        return np.full(len(orders), math.inf)
    plain = _moments(release.sampling_rate, release.noise_multiplier, orders)
    if not release.cohort_cap:
        return plain
    below, at_cap, rate = truncation(release.sampling_rate, release.cohort_cap, release.population)
    if not at_cap:
        return plain
    more = _moments(rate, release.noise_multiplier, orders)
    return mix_moments(np.array(orders), plain, more, (below, at_cap))


def _convert(moments: Vector, delta: float, orders: tuple[float, ...]) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "expand the range of alphas": a looser bound, still a bound
        epsilon, order = rdp_analysis().get_privacy_spent(orders=list(orders), rdp=moments, delta=delta)
    return max(0.0, float(epsilon)), float(order)


def conversion(orders: tuple[float, ...], delta: float) -> Vector:
    """The term that turns the divergence of each order into an epsilon (Balle et al. 2020, Theorem 21)."""
    a = np.array(orders)
    added: Vector = np.log1p(-1 / a) - (math.log(delta) + np.log(a)) / (a - 1)
    return added


def rdp_log_delta(moments: Vector, epsilon: float, orders: tuple[float, ...] = ORDERS) -> float:
    """The logarithm of the least delta at an epsilon, at most 0: the inverse of the conversion to epsilon."""
    a = np.array(orders)
    logs = (a - 1) * (moments - epsilon + np.log1p(-1 / a)) - np.log(a)
    return min(0.0, float(logs.min()))


@lru_cache(maxsize=1024)
def _moments(rate: float, noise: float, orders: tuple[float, ...]) -> Vector:
    """The Renyi divergence of one release at each order; infinity where an order cannot be computed.

    It includes what rounding may hide, 2^-40 / (order - 1), because such errors add up over a million rounds.
    (Measured against quadrature, the error is a tenth of it; where there is hardly any divergence, opacus
    returns 0 for 1e-16.) With much noise opacus' series at fractional orders run for minutes (q = 1/2); the
    divergence at the next whole order is not smaller, and is used instead.
    """
    compute_rdp = rdp_analysis().compute_rdp

    def at(order: float) -> float:
        order = float(math.ceil(order)) if noise > _WHOLE_ORDERS_FROM else order
        try:
            divergences = compute_rdp(q=rate, noise_multiplier=noise, steps=1, orders=[order])
            return float(divergences[0])
        except (ValueError, OverflowError):  # without an order the minimum is still an upper bound
            return math.inf

    moments: Vector = np.array([at(order) for order in orders], dtype=np.float64)
    moments[np.isnan(moments)] = math.inf
    np.maximum(moments, 0.0, out=moments)
    if rate < 1:  # rate 1 is a closed form
        moments += _ROUNDING / (np.array(orders) - 1)
    moments.setflags(write=False)
    return moments
