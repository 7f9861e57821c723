"""From a plan to the objects that carry it out, so that what is done is what is accounted for."""

from privacy.noise.banded import BandedNoise
from privacy.noise.independent import IndependentNoise, RoundNoise
from privacy.plan import PrivacyPlan


def make_noise(plan: PrivacyPlan, shape: str = "isotropic") -> RoundNoise:
    """The noise of a plan's rounds: correlated over its bands, or independent; of a shape."""
    independent = plan.bands == 1 or plan.noise_multiplier == 0
    return IndependentNoise(shape) if independent else BandedNoise(plan.bands, shape)
