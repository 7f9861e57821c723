"""The privacy profile of releases: delta at several epsilons, GDP, zCDP, and one person on several devices.

One pair (epsilon, delta) is a point of a curve. This module computes the curve, and two numbers that describe
a whole curve:

* mu of Gaussian differential privacy, sqrt(sum 1 / z^2) (Dong, Roth and Su 2022, arXiv 1905.02383). It is
  exact if every speaker takes part in every release (q = 1, no cap). With sampling no mu is exact, and none
  is shown.
* rho of zero-concentrated differential privacy, sum 1 / (2 z^2) (Bun and Steinke 2016, arXiv 1605.02065). It
  bounds every release here. Sampling does not lower it: at high orders the divergence of a sampled Gaussian
  over the order tends to 1 / (2 z^2). So without a cap this rho is also the least.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal

from privacy.accounting.group_privacy import group_epsilon, log_delta
from privacy.accounting.releases import Release, merge
from privacy.display import epsilon_text
from privacy.validate import open_probability

EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
DEVICES = (2, 3)


@dataclass(frozen=True, kw_only=True)
class PrivacyProfile:
    """What releases guarantee beside one epsilon at ``delta``.

    Args:
        delta: the delta of the epsilons in ``devices``.
        deltas: pairs of an epsilon and the delta at it; upper bounds.
        gdp_mu: exact, or None if no mu is exact.
        zcdp_rho: infinite without noise.
        devices: pairs of a number of devices, and epsilon at ``delta`` for one person on that many devices.

    Example:
        >>> nothing = PrivacyProfile.of([], delta=1e-6, independent=True)
        >>> nothing.gdp_mu, nothing.zcdp_rho, nothing.devices
        (0.0, 0.0, ((2, 0.0), (3, 0.0)))
    """

    delta: float
    deltas: tuple[tuple[float, float], ...]
    gdp_mu: float | None
    zcdp_rho: float
    devices: tuple[tuple[int, float], ...]

    @classmethod
    def of(
        cls,
        releases: Iterable[Release],
        delta: float,
        *,
        independent: bool,
        devices: tuple[int, ...] = DEVICES,
    ) -> "PrivacyProfile":
        """The profile of all releases together, for a plan that was fixed beforehand.

        Args:
            releases: what was released.
            delta: the probability with which epsilon may fail.
            independent: as in `group_epsilon`.
            devices: the numbers of devices.
        """
        merged = merge(releases)
        return cls(
            delta=open_probability(delta=delta),
            deltas=tuple((epsilon, _delta_at(merged, epsilon, delta)) for epsilon in EPSILONS),
            gdp_mu=gdp_mu(merged),
            zcdp_rho=zcdp_rho(merged),
            devices=tuple((k, group_epsilon(merged, delta, k, independent=independent)) for k in devices),
        )

    def describe(self) -> dict[str, object]:
        """The profile as values for JSON; infinite or unknown values become None."""
        return {
            "delta_at_epsilon": {f"{epsilon:g}": delta for epsilon, delta in self.deltas},
            "gdp_mu": _plain(self.gdp_mu),
            "zcdp_rho": _plain(self.zcdp_rho),
            "epsilon_for_devices": {str(count): _plain(epsilon) for count, epsilon in self.devices},
        }

    def rows(self) -> list[tuple[str, str]]:
        """Names and values for a table; every bound is rounded up."""
        deltas = "; ".join(f"{rounded_up(delta)} at {epsilon:g}" for epsilon, delta in self.deltas)
        mu = "not exact with sampling or without noise" if self.gdp_mu is None else rounded_up(self.gdp_mu)
        of_devices = [
            (f"epsilon for a person on {count} devices", epsilon_text(epsilon))
            for count, epsilon in self.devices
        ]
        zcdp = ("zCDP rho", rounded_up(self.zcdp_rho))
        return [("delta at other epsilons", deltas), ("GDP mu", mu), zcdp, *of_devices]


def gdp_mu(releases: Iterable[Release]) -> float | None:
    """The mu of Gaussian differential privacy if it is exact (no sampling, no effective cap), else None."""
    merged = merge(releases)
    plain = all(
        release.sampling_rate == 1 and not 0 < release.cohort_cap < release.population for release in merged
    )
    rho = zcdp_rho(merged)
    return math.sqrt(2 * rho) if plain and math.isfinite(rho) else None


def zcdp_rho(releases: Iterable[Release]) -> float:
    """The rho of zero-concentrated differential privacy; infinite without noise."""
    merged = merge(releases)
    if any(release.noise_multiplier == 0 for release in merged):
        return math.inf
    return math.fsum(release.count / (2 * release.noise_multiplier**2) for release in merged)


def _delta_at(releases: tuple[Release, ...], epsilon: float, delta: float) -> float:
    if not releases:
        return 0.0
    return math.exp(log_delta(releases, epsilon, delta))


def _plain(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def rounded_up(value: float) -> str:
    """A delta, mu or rho in three significant digits, rounded up: 1.24e-09, 0.633, 2.7e+03."""
    if not math.isfinite(value):
        return "infinite"
    up = Context(prec=3, rounding=ROUND_CEILING).plus(Decimal(repr(float(value))))
    return f"{float(up):.3g}"
