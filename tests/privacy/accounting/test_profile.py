"""The profile against closed forms, quadrature and dp_accounting; persons on several devices."""

import json
import math

import pytest
from scipy import integrate, optimize, stats

from privacy.accounting.epsilon import Release, epsilon, pld_epsilon
from privacy.accounting.group_privacy import group_epsilon, log_delta
from privacy.accounting.profile import EPSILONS, PrivacyProfile, gdp_mu, rounded_up, zcdp_rho
from privacy.accounting.renyi import moments_of

FULL = (Release(sampling_rate=1.0, noise_multiplier=5.0, count=10),)
SAMPLED = (Release(sampling_rate=0.05, noise_multiplier=1.0, count=40),)


def gaussian_delta(at: float, mu: float) -> float:
    """Of the Gaussian mechanism (Balle and Wang 2018, Theorem 8)."""
    norm = stats.norm
    return float(norm.cdf(mu / 2 - at / mu) - math.exp(at) * norm.cdf(-mu / 2 - at / mu))


def gaussian_epsilon(delta: float, mu: float) -> float:
    return float(optimize.brentq(lambda at: gaussian_delta(at, mu) - delta, 0.0, 500.0))


def test_privacy_profile_guarantee() -> None:
    """Everybody in every release: mu in closed form, every delta at most a little above the exact one."""
    found = PrivacyProfile.of(FULL, 1e-6, independent=True)
    mu = math.sqrt(10) / 5
    assert found.gdp_mu == pytest.approx(mu, rel=1e-12)
    assert found.zcdp_rho == pytest.approx(mu**2 / 2, rel=1e-12)
    for at, delta in found.deltas:
        exact = gaussian_delta(at, mu)
        assert exact <= delta
        assert delta <= 1.01 * exact + 1e-14 or at > 4  # beyond, PLD's rounding leaves RDP alone
    for count, bound in found.devices:  # all devices always: a Gaussian of k times the shift
        assert 1 <= bound / gaussian_epsilon(1e-6, count * mu) < 1.01


def test_the_profile_and_epsilon_are_one_curve() -> None:
    claim = epsilon(SAMPLED, 1e-6).value
    deltas = [math.exp(log_delta(SAMPLED, at, 1e-6)) for at in EPSILONS]
    assert deltas == sorted(deltas, reverse=True)
    assert [delta < 1e-6 for delta in deltas] == [at > claim for at in EPSILONS]


def test_no_mu_with_sampling_or_a_cap_and_rho_is_the_limit_of_high_orders() -> None:
    assert gdp_mu(SAMPLED) is None
    assert gdp_mu([Release(sampling_rate=1.0, noise_multiplier=1.0, cohort_cap=5, population=9)]) is None
    assert gdp_mu([Release(sampling_rate=1.0, noise_multiplier=1.0, cohort_cap=9, population=9)]) == 1.0
    noisy = [Release(sampling_rate=0.5, noise_multiplier=0.5)]
    highest = float(moments_of(noisy, (1024.0,))[0]) / 1024
    assert zcdp_rho(noisy) == 2.0 and 0.998 * 2.0 < highest <= 2.0


def test_no_noise_has_no_profile_and_is_json_still() -> None:
    found = PrivacyProfile.of([Release(sampling_rate=1.0, noise_multiplier=0.0)], 1e-6, independent=True)
    described = json.loads(json.dumps(found.describe(), allow_nan=False))
    assert described["gdp_mu"] is None and described["zcdp_rho"] is None
    assert described["epsilon_for_devices"] == {"2": None, "3": None}
    assert set(described["delta_at_epsilon"].values()) == {1.0}
    assert ("epsilon for a person on 2 devices", "no privacy") in found.rows()
    nothing = PrivacyProfile.of([], 1e-6, independent=True)
    assert {delta for _, delta in nothing.deltas} == {0.0} and nothing.devices == ((2, 0.0), (3, 0.0))


def test_one_release_to_a_person_on_two_devices_is_a_mixture_of_gaussians() -> None:
    """Exact delta by quadrature: (1-q)^2 N(0) + 2q(1-q) N(1) + q^2 N(2) against N(0), either way round."""
    rate, noise, delta = 0.2, 0.8, 1e-4
    weights = [(1 - rate) ** 2, 2 * rate * (1 - rate), rate**2]

    def normal(x: float, mean: float) -> float:
        return math.exp(-((x - mean) ** 2) / (2 * noise**2)) / (noise * math.sqrt(2 * math.pi))

    def exact(at: float) -> float:
        def beyond(x: float, sign: int) -> float:
            one, other = sum(w * normal(x, j) for j, w in enumerate(weights)), normal(x, 0)
            more, less = (one, other) if sign > 0 else (other, one)
            return max(0.0, more - math.exp(at) * less)

        return max(
            float(integrate.quad(beyond, -8, 10, args=(sign,), limit=500, points=[0, 1, 2, 3])[0])
            for sign in (1, -1)
        )

    bound = group_epsilon([Release(sampling_rate=rate, noise_multiplier=noise)], delta, 2, independent=True)
    assert exact(bound) <= delta * (1 + 1e-6)
    assert exact(0.99 * bound) > delta


def test_group_epsilon_guarantee() -> None:
    """More devices cost more, correlated noise and caps no less; one device is the ordinary claim."""
    ones = [group_epsilon(SAMPLED, 1e-6, 1, independent=independent) for independent in (True, False)]
    claim = epsilon(SAMPLED, 1e-6).value
    assert claim <= ones[0] <= ones[1] <= 1.001 * claim or ones[0] == claim
    two, three = (group_epsilon(SAMPLED, 1e-6, count, independent=True) for count in (2, 3))
    assert claim < two < three
    assert two < group_epsilon(SAMPLED, 1e-6, 2, independent=False)
    capped = [Release(sampling_rate=0.05, noise_multiplier=1.0, count=40, cohort_cap=80, population=1000)]
    assert group_epsilon(capped, 1e-6, 2, independent=True) > two
    with pytest.raises(ValueError, match="devices=2"):
        pld_epsilon(capped, 1e-6, devices=2)


def test_group_privacy_of_any_mechanism_is_the_textbooks_lemma() -> None:
    """k steps: delta(e) (exp(k e) - 1) / (exp(e) - 1) at the e found is the delta asked for."""
    bound = group_epsilon(FULL, 1e-6, 3, independent=False)
    at, mu = bound / 3, math.sqrt(10) / 5
    reached = gaussian_delta(at, mu) * math.expm1(3 * at) / math.expm1(at)
    assert 0.9e-6 < reached <= 1e-6


def test_a_tiny_delta_still_has_an_answer_for_devices() -> None:
    assert group_epsilon(SAMPLED, 1e-15, 2, independent=True) < math.inf == pld_epsilon(SAMPLED, 1e-15, 2)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (1.231e-9, "1.24e-09"), (0.5, "0.5"), (2694.1, "2.7e+03"), (math.inf, "infinite")],
)
def test_rounded_up(value: float, shown: str) -> None:
    assert rounded_up(value) == shown
