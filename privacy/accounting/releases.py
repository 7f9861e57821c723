"""The accounting event: Gaussian noise on a sum over a Poisson-sampled cohort, with or without a cap."""

from collections.abc import Iterable
from dataclasses import dataclass

from privacy.validate import finite, probability, whole

MIN_NOISE_MULTIPLIER, MAX_NOISE_MULTIPLIER = 1e-4, 1e5


@dataclass(frozen=True, kw_only=True)
class Release:
    """``count`` releases of a sum over a Poisson cohort with Gaussian noise.

    Args:
        sampling_rate: q, in [0, 1], the probability that one speaker takes part in one release.
        noise_multiplier: z, the noise's standard deviation on the sum divided by the clip bound; 0 for no
            noise.
        count: the number of equal releases.
        cohort_cap: if above 0, a cohort larger than this is cut down to a uniformly random subset of this
            size (a truncated Poisson sample).
        population: the number of speakers; needed with a cap, 0 without one.

    Raises:
        ValueError: for NaN, infinity, or a value out of range.

    Example:
        >>> merge([Release(sampling_rate=0.01, noise_multiplier=1.0) for _ in range(3)])[0].count
        3
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


def merge(releases: Iterable[Release]) -> tuple[Release, ...]:
    """Equal releases counted together, in a fixed order; those of rate or count 0 are left out."""
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
