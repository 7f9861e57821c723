"""Which speakers a round may see: the one place that draws a cohort as a plan accounts for it."""

import secrets

import numpy as np

from privacy.plan import PrivacyPlan
from privacy.sampling import poisson_sample

Indices = np.ndarray[tuple[int], np.dtype[np.int64]]


def draw_cohort(plan: PrivacyPlan, step: int) -> Indices:
    """The cohort of the ``step``-th round since the process began, counted from 0; ascending indices.

    Guarantee:
        Everyone is drawn by an independent coin from the operating system. With b bands, speaker i belongs
        to group i mod b for good, and only group ``step mod b`` is drawn from, with probability b q: nobody
        takes part twice in b consecutive rounds. With a cap, a larger cohort is cut down to a subset of it
        that is uniform by the operating system's randomness: a truncated Poisson sample.
    """
    group = step % plan.bands
    members = len(range(group, plan.population, plan.bands))
    drawn = group + plan.bands * poisson_sample(members, plan.release.sampling_rate)
    if not plan.cohort_cap or len(drawn) <= plan.cohort_cap:
        return drawn
    kept = secrets.SystemRandom().sample(range(len(drawn)), plan.cohort_cap)
    return drawn[sorted(kept)]
