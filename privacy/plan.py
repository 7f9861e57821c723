"""The privacy plan: one object owns sampler, noise and accountant, so that they cannot disagree.

A `PrivacyPlan` states the population, the expected cohort of a round, the number of rounds, and the noise.
All code that draws a cohort, adds noise or reports epsilon takes the plan, never single numbers.

One convention for noise, everywhere: the noise multiplier z is the standard deviation of the noise on the
*sum* of updates in units of the clip bound C. The paper's sigma_DP, noise on the *mean* in units of C, is
z / S, where S is the expected cohort.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from privacy.accounting.budget import Budget
from privacy.accounting.calibration import calibrate_noise_multiplier
from privacy.accounting.epsilon import Epsilon, Release, epsilon
from privacy.display import delta_promises
from privacy.validate import open_probability, positive, whole

ADJACENCY = "zero-out / add-or-remove one speaker"
SAMPLER = "Poisson"
SECURE, SEEDED = NOISE_SOURCES = ("secure", "seeded-not-private")


def adjacency_of(bands: int = 1, cohort_cap: int = 0) -> str:
    """The adjacency: which two data sets the guarantee compares.

    With bands or a cap a speaker is zeroed out and not removed: a removal would shift the groups of the
    bands, and would change the population that the accounting of a cap uses.
    """
    return ADJACENCY if bands == 1 and not cohort_cap else "zero-out one speaker"


def sampler_of(bands: int = 1, cohort_cap: int = 0) -> str:
    """The sampler by which cohorts must be drawn."""
    groups = f"group-wise ({bands} fixed groups in turn) " if bands > 1 else ""
    cap = f"truncated (at most {cohort_cap}) " if cohort_cap else ""
    return groups + cap + SAMPLER


@dataclass(frozen=True, kw_only=True)
class PrivacyPlan:
    """What a run guarantees to every speaker of its population.

    Guarantee:
        Suppose that every round draws its cohort by `draw_cohort` (`poisson_sample` at `sampling_rate`),
        clips each speaker's update to the bound C, adds Gaussian noise of standard deviation
        ``noise_multiplier * C`` to the sum (with bands: `BandedNoise`), and divides by the fixed ``cohort``.
        Then the models of all rounds together are (epsilon, delta)-differentially private with respect to
        zeroing out any one speaker, for the epsilon of `epsilon()`.

    Args:
        population: N, the number of speakers; public.
        cohort: S = q N, the *expected* number of speakers in a round; in (0, N], not necessarily an integer.
        rounds: T, the number of planned rounds.
        noise_multiplier: z; 0 is a run without noise and without privacy (`is_private` is False).
        delta: the probability with which epsilon may fail; in (0, 1), best far below 1 / N.
        epsilon_budget: the epsilon at which the run must stop before its last round; None for no limit.
        bands: b, the number of rounds over which noise is correlated (`privacy.noise.banded_matrix`).
            Speakers are then in b fixed groups, round t draws from one of them with probability b q, and b
            rounds together are one release of that rate. 1 is independent noise.
        cohort_cap: the maximum number of speakers in a round. If more are drawn, a random subset of this size
            stays, and the rounds are accounted for as truncated Poisson samples. 0 for no cap.
        noise_source: 'secure', or 'seeded-not-private': noise that a seed repeats, for simulations. Such a
            run has no privacy at any noise multiplier, and everything that it writes states this.
        noise_seed: the seed of 'seeded-not-private'; nothing else reads it.

    Raises:
        ValueError: for any value out of range.

    Example:
        >>> plan = PrivacyPlan(population=10_000, cohort=100, rounds=50, noise_multiplier=1.0, delta=1e-6)
        >>> plan.sampling_rate, plan.sigma_dp, round(plan.epsilon(pld=False).value, 2)
        (0.01, 0.01, 1.42)
    """

    population: int
    cohort: float
    rounds: int
    noise_multiplier: float
    delta: float
    epsilon_budget: float | None = None
    bands: int = 1
    cohort_cap: int = 0
    noise_source: str = SECURE
    noise_seed: int = 0

    def __post_init__(self) -> None:
        whole(1, population=self.population)
        whole(1, rounds=self.rounds)
        open_probability(delta=self.delta)
        if positive(cohort=self.cohort) > self.population:
            raise ValueError(
                f"Expected 0 < cohort <= population, got cohort={self.cohort!r} of a population of "
                f"{self.population}."
            )
        if self.epsilon_budget is not None:
            positive(epsilon_budget=self.epsilon_budget)
        if whole(1, bands=self.bands) * self.sampling_rate > 1:
            raise ValueError(
                f"Expected bands * cohort / population <= 1, got {self.bands} * {self.cohort:g} / "
                f"{self.population}: a group of {self.population / self.bands:g} speakers is too small for "
                "such a cohort; use fewer bands or a smaller cohort."
            )
        if whole(cohort_cap=self.cohort_cap):
            self._check_cap()
        if self.noise_source not in NOISE_SOURCES:
            raise ValueError(
                f"Expected noise_source to be one of {NOISE_SOURCES}, got {self.noise_source!r}."
            )
        whole(noise_seed=self.noise_seed)
        _ = replace(self.release, noise_multiplier=self.noise_multiplier)  # refuses one out of range

    def _check_cap(self) -> None:
        if not self.cohort <= self.cohort_cap <= self.population:
            raise ValueError(
                f"Expected cohort <= cohort_cap <= population, got cohort={self.cohort:g}, "
                f"cohort_cap={self.cohort_cap}, population={self.population}."
            )
        if self.bands > 1:
            raise ValueError(
                f"cohort_cap={self.cohort_cap} and bands={self.bands}: no accounting covers a capped cohort "
                "drawn from groups; use one of the two."
            )

    @classmethod
    def calibrate(
        cls,
        *,
        target_epsilon: float,
        population: int,
        cohort: float,
        rounds: int,
        delta: float,
        bands: int = 1,
        cohort_cap: int = 0,
    ) -> "PrivacyPlan":
        """The plan with the least noise for which all its rounds stay within ``target_epsilon``.

        The target also becomes the plan's budget.
        """
        draft = cls(
            population=population,
            cohort=cohort,
            rounds=rounds,
            noise_multiplier=0,
            delta=delta,
            bands=bands,
            cohort_cap=cohort_cap,
        )
        noise = calibrate_noise_multiplier(
            target_epsilon=target_epsilon,
            delta=delta,
            sampling_rate=draft.release.sampling_rate,
            rounds=draft.releases_in(rounds),
            cohort_cap=draft.release.cohort_cap,
            population=draft.release.population,
        )
        return replace(draft, noise_multiplier=noise, epsilon_budget=target_epsilon)

    @property
    def sampling_rate(self) -> float:
        """The probability q = S / N that one speaker is drawn in one round."""
        return self.cohort / self.population

    @property
    def sigma_dp(self) -> float:
        """The paper's sigma_DP = z / S: noise on the mean in units of C."""
        return self.noise_multiplier / self.cohort

    @property
    def adjacency(self) -> str:
        """The adjacency: which two data sets the guarantee compares."""
        return adjacency_of(self.bands, self.cohort_cap)

    @property
    def sampler(self) -> str:
        """The sampler by which cohorts must be drawn."""
        return sampler_of(self.bands, self.cohort_cap)

    @property
    def is_private(self) -> bool:
        """Whether there is noise, and nobody can repeat it."""
        return self.noise_multiplier > 0 and self.noise_source == SECURE

    @property
    def stamp(self) -> str:
        """What every file of a run must state about its privacy."""
        return "see ledger.jsonl" if self.is_private else "none"

    @property
    def release(self) -> Release:
        """The release of one round; with bands, the release of `bands` consecutive rounds together.

        Noise that a seed repeats counts as no noise.
        """
        return Release(
            sampling_rate=self.bands * self.sampling_rate,
            noise_multiplier=self.noise_multiplier if self.noise_source == SECURE else 0.0,
            cohort_cap=self.cohort_cap,
            population=self.population if self.cohort_cap else 0,
        )

    def releases_in(self, rounds: int) -> int:
        """The number of releases in this number of rounds: ceil(rounds / bands)."""
        return -(-whole(rounds=rounds) // self.bands)

    def charge(self, step: int) -> Release | None:
        """What the ``step``-th round since the start of this process (from 0) adds to the ledger.

        With bands the first of every `bands` rounds is charged for all of them; the others are None. A
        process that resumes a run starts a new cycle with new noise, so no speaker takes part twice in a
        cycle that was charged once.
        """
        return None if whole(step=step) % self.bands else self.release

    def epsilon(self, rounds: int | None = None, pld: bool = True) -> Epsilon:
        """Epsilon after this number of rounds; by default after all planned rounds."""
        return self.epsilon_of(self.releases_in(self.rounds if rounds is None else rounds), pld)

    def epsilon_of(self, releases: int, pld: bool = True) -> Epsilon:
        """Epsilon after this number of releases; after crashes there are more than the rounds need."""
        return epsilon([replace(self.release, count=whole(releases=releases))], self.delta, pld)

    def extrapolate(self, population: int, cohort: float) -> "PrivacyPlan":
        """The same training at another scale: sigma_DP, delta and rounds stay, z becomes sigma_DP * S'.

        That the model would be the same is the paper's assumption, not a result. Show the epsilon of such a
        plan only beside the epsilon of this one.
        """
        cap = math.ceil(max(cohort, self.cohort_cap / self.cohort * cohort)) if self.cohort_cap else 0
        return replace(
            self,
            population=population,
            cohort=cohort,
            noise_multiplier=self.sigma_dp * cohort,
            epsilon_budget=None,
            cohort_cap=min(cap, population),
        )

    @property
    def remark_on_delta(self) -> str:
        """What to say beside an epsilon of this population if delta is so large that it promises nothing."""
        if delta_promises(self.delta, self.population):
            return ""
        return f"; at delta {self.delta:g}, which is not below 1 / {self.population:,}, this promises nothing"

    def require_budget(self, own: Iterable[Release], others: Iterable[Release] = ()) -> None:
        """Refuse the next round if it would exceed the budget; see `privacy.accounting.budget`.

        Call it before the cohort is drawn. Without a budget it never refuses.

        Args:
            own: this run's releases so far on the population.
            others: all other releases on it: those of other runs, and those of runs whose model this run
                started from.

        Raises:
            BudgetExhausted: naming what is spent, what it would be after the round, and the budget.
        """
        if self.epsilon_budget is None:
            return
        budget = Budget(
            epsilon=self.epsilon_budget,
            delta=self.delta,
            release=self.release,
            planned=self.releases_in(self.rounds),
        )
        budget.require_room(own, others)

    def describe(self) -> dict[str, object]:
        """The plan and its epsilon as values for JSON (an infinite epsilon becomes None)."""
        bounds = self.epsilon()
        return {
            "population": self.population,
            "cohort": self.cohort,
            "sampling_rate": self.sampling_rate,
            "rounds": self.rounds,
            "bands": self.bands,
            "cohort_cap": self.cohort_cap,
            "noise_source": self.noise_source,
            "privacy": self.stamp,
            "noise_multiplier": self.noise_multiplier,
            "sigma_dp": self.sigma_dp,
            "delta": self.delta,
            "epsilon_budget": self.epsilon_budget,
            **describe_epsilon(bounds),
            "adjacency": self.adjacency,
            "sampler": self.sampler,
        }


def describe_epsilon(bounds: Epsilon) -> dict[str, object]:
    """Both bounds, the claim and its accountant, as values for JSON (infinity becomes None)."""

    def plain(number: float | None) -> float | None:
        return number if number is not None and math.isfinite(number) else None

    return {
        "epsilon": {"rdp": plain(bounds.rdp), "pld": plain(bounds.pld), "order": plain(bounds.order)},
        "claim": plain(bounds.value),
        "accountant": bounds.accountant,
    }
