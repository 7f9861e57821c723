"""Renyi moments of a truncated Poisson sample: what a cap on the cohort makes of those of the plain one.

Everybody is drawn by a coin of probability q, and a draw of more than B people is cut down to a uniform
subset of B. Compare D with the data set in which one person's speech is zeroed out: that person is still
drawn, and takes a place, but adds nothing. Let R be the others who stay. R has the same distribution under
both, and given R, the one that is drawn is with a probability p(R) that depends on the size of R alone:

* |R| below B - 1: nothing was cut, p = q;
* |R| = B - 1: either B - 1 others and the coin, or a larger draw was cut and the person stayed: p = p*,
  with p* = (q P[K = B - 1] + t) / (P[K = B - 1] + t), where K is Binomial(N - 1, q) and t is the chance that
  the person is drawn, the draw is cut and the person stays, (B / N) P[Binomial(N, q) > B];
* |R| = B: the person is not in it.

So the release is a mixture over R, with the same weights on both sides, of sampled Gaussians of rate p(R).
The order-a moment A = exp((a - 1) D_a) is an f-divergence (of t^a), hence jointly convex, in both directions:

    A <= P[|R| < B - 1] A(q) + P[|R| = B - 1] A(p*) + P[|R| = B]

where A(p) is the moment of the sampled Gaussian, which bounds both directions (Mironov, Talwar and Zhang
2019, arXiv 1908.10530). Where the others' sums tell R, this is an equality.
"""

import math

import numpy as np

Vector = np.ndarray[tuple[int], np.dtype[np.float64]]

_UNDERFLOW = 1e-250  # probabilities below it are taken to be it
_UPWARDS = 1 + 1e-9  # far more than the error of scipy's binomial


def truncation(rate: float, cap: int, population: int) -> tuple[float, float, float]:
    """P[|R| < B - 1], P[|R| = B - 1] and p*, the last two rounded up.

    Args:
        rate: q, in (0, 1].
        cap: B, at least 1.
        population: N, with the person in question.
    """
    from scipy.stats import binom

    if cap >= population:
        return 1.0, 0.0, rate
    below = float(binom.cdf(cap - 2, population - 1, rate))
    uncut = float(binom.pmf(cap - 1, population - 1, rate))
    cut = cap / population * float(binom.sf(cap, population, rate))
    if uncut + cut < _UNDERFLOW:
        odds = _odds_in_the_tail(rate, cap, population)
        return below, _UNDERFLOW, min(1.0, (rate + odds) / (1 + odds) * _UPWARDS)
    at_cap = min(1.0, (uncut + cut) * _UPWARDS)
    return below, at_cap, min(1.0, (rate * uncut + cut) / (uncut + cut) * _UPWARDS)


def _odds_in_the_tail(rate: float, cap: int, population: int) -> float:
    """An upper bound on t / P[K = B - 1] where both underflow: a geometric series bounds the tail."""
    falls = (population - cap - 1) * rate / ((cap + 2) * (1 - rate))  # P[B + 2] / P[B + 1], the largest ratio
    if falls >= 1:
        return math.inf
    return (population - cap) * rate**2 / ((cap + 1) * (1 - rate) * (1 - falls))


def mix_moments(orders: Vector, plain: Vector, at_cap: Vector, weights: tuple[float, float]) -> Vector:
    """The divergences of the mixture from those of its two parts, at each order.

    Args:
        orders: (k,) Renyi orders above 1.
        plain, at_cap: (k,) divergences at rate q and at rate p*.
        weights: P[|R| < B - 1] and P[|R| = B - 1]; what is left over reveals nothing.
    """
    logs = np.stack([(orders - 1) * plain, (orders - 1) * at_cap])
    shares = np.array(weights)[:, None]
    with np.errstate(over="ignore", divide="ignore"):
        small = np.log1p((shares * np.expm1(np.minimum(logs, 1.0))).sum(axis=0))  # keeps tiny divergences
        rest = max(0.0, 1.0 - sum(weights))
        large = np.logaddexp.reduce([*(np.log(shares) + logs), np.full(len(orders), np.log(rest))])
    moments: Vector = np.where(logs.max(axis=0) < 1.0, small, large) / (orders - 1)
    return moments
