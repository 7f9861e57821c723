"""Renyi moments of a truncated Poisson sample, from those of the plain Poisson sample.

Each of N speakers is drawn by a coin of probability q, and a draw of more than B speakers is cut down to a
uniform subset of B. Compare D with the data set in which one speaker's data is zeroed out: that speaker is
still drawn, and takes a place, but adds nothing. Let R be the set of the other speakers who stay. R has the
same distribution in both cases. Given R, the speaker is in the sample with a probability p(R) that depends
only on the size of R:

* |R| below B - 1: nothing was cut, p = q;
* |R| = B - 1: either B - 1 others were drawn and the coin decides, or a larger draw was cut and the speaker
  stayed: p = p*, with p* = (q P[K = B - 1] + t) / (P[K = B - 1] + t), where K is Binomial(N - 1, q) and t is
  the probability that the speaker is drawn, the draw is cut and the speaker stays, (B / N) P[Binomial(N, q) >
  B];
* |R| = B: the speaker is not in the sample.

So the release is a mixture over R, with the same weights in both cases, of sampled Gaussians of rate p(R).
The order-a moment A = exp((a - 1) D_a) is an f-divergence (of t^a), so it is jointly convex, in both
directions:

    A <= P[|R| < B - 1] A(q) + P[|R| = B - 1] A(p*) + P[|R| = B]

where A(p) is the moment of the sampled Gaussian, which bounds both directions (Mironov, Talwar and Zhang
2019, arXiv 1908.10530). If the sums of the others reveal R, this is an equality.
"""

import math

import numpy as np

Vector = np.ndarray[tuple[int], np.dtype[np.float64]]

_UNDERFLOW = 1e-250  # smaller probabilities count as this one
_UPWARDS = 1 + 1e-9  # far more than the error of scipy's binomial


def truncation(rate: float, cap: int, population: int) -> tuple[float, float, float]:
    """P[|R| < B - 1], P[|R| = B - 1] and p*, the last two rounded up.

    Args:
        rate: q, in (0, 1].
        cap: B, at least 1.
        population: N, including the speaker in question.
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
    """An upper bound on t / P[K = B - 1] if both underflow: a geometric series bounds the tail."""
    falls = (population - cap - 1) * rate / ((cap + 2) * (1 - rate))  # P[B + 2] / P[B + 1], the largest ratio
    if falls >= 1:
        return math.inf
    return (population - cap) * rate**2 / ((cap + 1) * (1 - rate) * (1 - falls))


def mix_moments(orders: Vector, plain: Vector, at_cap: Vector, weights: tuple[float, float]) -> Vector:
    """The divergences of the mixture from those of its two parts, at each order.

    Args:
        orders: shape (k,), Renyi orders above 1.
        plain: shape (k,), divergences at rate q.
        at_cap: shape (k,), divergences at rate p*.
        weights: P[|R| < B - 1] and P[|R| = B - 1]; the rest of the probability reveals nothing.
    """
    logs = np.stack([(orders - 1) * plain, (orders - 1) * at_cap])
    shares = np.array(weights)[:, None]
    with np.errstate(over="ignore", divide="ignore"):
        small = np.log1p((shares * np.expm1(np.minimum(logs, 1.0))).sum(axis=0))  # keeps tiny divergences
        rest = max(0.0, 1.0 - sum(weights))
        large = np.logaddexp.reduce([*(np.log(shares) + logs), np.full(len(orders), np.log(rest))])
    moments: Vector = np.where(logs.max(axis=0) < 1.0, small, large) / (orders - 1)
    return moments
