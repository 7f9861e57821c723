"""From a plan to its noise and to its charge, so that the noise that is added is the noise that is accounted.

Guarantee (`charge_of`): noise that declares no accounting, or another one than the plan's, is refused before
anything is spent or released.
"""

from privacy.accounting.releases import Release
from privacy.errors import UnaccountedMechanism
from privacy.noise.banded import BandedNoise
from privacy.noise.independent import IndependentNoise, RoundNoise
from privacy.plan import PrivacyPlan


def make_noise(plan: PrivacyPlan, shape: str = "isotropic") -> RoundNoise:
    """The noise of a plan's rounds in the given shape: independent, or correlated over the plan's bands.

    Example:
        >>> plan = PrivacyPlan(population=900, cohort=9, rounds=8, noise_multiplier=1, delta=1e-6, bands=4)
        >>> type(make_noise(plan)).__name__
        'BandedNoise'
    """
    independent = plan.bands == 1 or plan.noise_multiplier == 0
    return IndependentNoise(shape) if independent else BandedNoise(plan.bands, shape)


def charge_of(plan: PrivacyPlan, noise: RoundNoise, step: int) -> Release | None:
    """The release to spend before ``noise`` is drawn in the ``step``-th round (from 0) of this process.

    None if an earlier round of the same cycle of bands was charged for this one (`PrivacyPlan.charge`).

    Raises:
        UnaccountedMechanism: if the noise does not declare exactly the plan's release.
    """
    require_accounted(plan, noise)
    return plan.charge(step)


def require_accounted(plan: PrivacyPlan, noise: RoundNoise) -> None:
    """Refuse noise whose declared accounting is not the plan's release.

    Raises:
        UnaccountedMechanism: naming the mechanism, what it declares, and what the plan charges.
    """
    accounting = getattr(noise, "accounting", None)
    declared = accounting(plan) if callable(accounting) else None
    if type(declared) is not Release or declared != plan.release:
        raise UnaccountedMechanism(
            f"{type(noise).__name__} declares {declared} as its accounting event, but the plan charges "
            f"{plan.release}: nothing may be released. Use `make_noise(plan)`, or noise whose "
            "`accounting(plan)` returns the release that its noise really is."
        )
