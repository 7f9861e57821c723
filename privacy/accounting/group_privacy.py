"""Epsilon for one person who counts as several speakers: one on each of k devices or nodes.

With independent noise and no cap the k coins are independent and each of the k updates is clipped to C, so
the exact dominating pair is known (`pld_epsilon`, ``devices``). In all other cases, such as correlated noise
and caps, group privacy holds. From D to the data set without the person there are k steps of one speaker
each. They turn (e, d) of one speaker into

    (k e,  d (exp(k e) - 1) / (exp(e) - 1)) of k

(Vadhan 2017, The Complexity of Differential Privacy, Lemma 2.2). e is chosen so that this delta is the given
one.
"""

import math
from collections.abc import Iterable

from privacy.accounting.pld import pld_delta, pld_epsilon
from privacy.accounting.releases import MIN_NOISE_MULTIPLIER, Release, merge
from privacy.accounting.renyi import moments_of, rdp_epsilon, rdp_log_delta
from privacy.validate import open_probability, whole

_HIGHEST = 1e6


def group_epsilon(releases: Iterable[Release], delta: float, devices: int, *, independent: bool) -> float:
    """Epsilon at ``delta`` for one person who counts as ``devices`` speakers, all removed together.

    Args:
        releases: what was released.
        delta: the probability with which epsilon may fail.
        devices: k, the number of speakers of this person.
        independent: whether no release had correlated noise (`PrivacyPlan.bands` above 1); a ledger does not
            record this. With caps it makes no difference.

    Guarantee:
        An upper bound; infinity if none was found. For one device it is not above the claim of `epsilon`.
    """
    merged, k = merge(releases), whole(1, devices=devices)
    bound = _by_group_privacy(merged, open_probability(delta=delta), k)
    if not independent or any(release.cohort_cap for release in merged):
        return bound
    return min(bound, pld_epsilon(merged, delta, k), _by_the_worst_draw(merged, delta, k))


def log_delta(releases: tuple[Release, ...], epsilon: float, delta: float) -> float:
    """The logarithm of the delta at an epsilon, by the better accountant; ``delta`` sets the PLD interval."""
    by_pld = pld_delta(releases, epsilon, delta)
    by_rdp = rdp_log_delta(moments_of(releases), epsilon)
    return min(by_rdp, math.log(by_pld) if by_pld else -math.inf)


def _by_the_worst_draw(releases: tuple[Release, ...], delta: float, devices: int) -> float:
    """A bound as if all devices were drawn whenever one is: looser, but without a Fourier transform."""
    worst = []
    for release in releases:
        noise = release.noise_multiplier / devices
        if noise and noise < MIN_NOISE_MULTIPLIER:
            return math.inf
        any_drawn = min(
            1.0, -math.expm1(devices * math.log1p(-min(release.sampling_rate, 1 - 2**-53))) * (1 + 1e-12)
        )
        rate = 1.0 if release.sampling_rate == 1 else any_drawn
        worst.append(Release(sampling_rate=rate, noise_multiplier=noise, count=release.count))
    return rdp_epsilon(worst, delta)[0]


def _by_group_privacy(releases: tuple[Release, ...], delta: float, devices: int) -> float:
    if not releases:
        return 0.0
    if any(release.noise_multiplier == 0 for release in releases):
        return math.inf

    def enough(epsilon: float) -> bool:
        factor = _log_expm1(devices * epsilon) - _log_expm1(epsilon)
        return log_delta(releases, epsilon, delta) + factor <= math.log(delta)

    high = 1e-2
    while not enough(high):
        high *= 1.5
        if high > _HIGHEST:
            return math.inf
    low = high / 1.5
    while high > low * 1.0005:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return devices * high


def _log_expm1(x: float) -> float:
    return x + math.log1p(-math.exp(-x)) if x > 1 else math.log(math.expm1(x))
