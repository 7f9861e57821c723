"""One object owns sampler, clip-relative noise and accountant, so that they cannot disagree.

A `PrivacyPlan` says who may be drawn, how many are expected each round, for how many rounds, and with how
much noise. Whatever draws a cohort, adds noise or reports epsilon takes the plan, never loose numbers.

One convention for noise, everywhere: the noise multiplier z is the standard deviation of the noise on the
*sum* of updates in units of the clip bound C. The paper's sigma_DP, noise on the *mean* in units of C, is
z / S with S the expected cohort.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from privacy.accounting.calibration import calibrate_noise_multiplier
from privacy.accounting.epsilon import Epsilon, Release, epsilon, merge
from privacy.accounting.filters import filtered_epsilon
from privacy.display import epsilon_text
from privacy.errors import BudgetExhausted
from privacy.validate import open_probability, positive, whole

ADJACENCY = "zero-out / add-or-remove one speaker"
SAMPLER = "Poisson"
SECURE, SEEDED = NOISE_SOURCES = ("secure", "seeded-not-private")


def adjacency_of(bands: int = 1, cohort_cap: int = 0) -> str:
    """Which two data sets the guarantee compares.

    To remove someone would shift the groups of bands, and change the population that a cap is accounted by.
    """
    return ADJACENCY if bands == 1 and not cohort_cap else "zero-out one speaker"


def sampler_of(bands: int = 1, cohort_cap: int = 0) -> str:
    """How cohorts must be drawn."""
    groups = f"group-wise ({bands} fixed groups in turn) " if bands > 1 else ""
    cap = f"truncated (at most {cohort_cap}) " if cohort_cap else ""
    return groups + cap + SAMPLER


@dataclass(frozen=True, kw_only=True)
class PrivacyPlan:
    """What a run promises to every speaker of its population.

    Guarantee:
        If every round draws its cohort by `draw_cohort` (`poisson_sample` at `sampling_rate`), holds each
        speaker's update to the clip bound C, adds Gaussian noise of standard deviation
        ``noise_multiplier * C`` to the sum (with bands: `BandedNoise`) and divides by the fixed ``cohort``,
        then the models of all rounds together are (epsilon, delta)-differentially private with respect to
        zeroing out any one speaker, for the epsilon of `epsilon()`.

    Args:
        population: how many speakers there are, N; public.
        cohort: how many are *expected* in a round, S = q N; in (0, N], need not be whole.
        rounds: how many rounds are planned, T.
        noise_multiplier: z; 0 is a run without noise and without privacy (`is_private` is False).
        delta: the probability with which epsilon may fail; in (0, 1), best far below 1 / N.
        epsilon_budget: where the run must stop, if anywhere before its last round.
        bands: over how many rounds noise is correlated, b (`privacy.noise.banded_matrix`). Speakers are then
        in b
            fixed groups, round t draws from one of them with probability b q, and b rounds together are
            one release of that rate. 1 is independent noise.
        cohort_cap: the most speakers that may take part in a round; if more are drawn, a random subset of
            this size stays, and the rounds are accounted for as truncated Poisson samples. 0 for no cap.
        noise_source: 'secure', or 'seeded-not-private': noise that a seed repeats, for simulations. Such a
            run has no privacy, whatever its noise multiplier, and everything it leaves behind says so.
        noise_seed: the seed of 'seeded-not-private'; nothing else reads it.

    Raises:
        ValueError: for any value out of range.
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
                f"{self.population}: a group of {self.population / self.bands:g} speakers cannot give such a "
                "cohort; use fewer bands or a smaller cohort."
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
                f"cohort_cap={self.cohort_cap} and bands={self.bands}: a capped cohort out of groups is not "
                "accounted for; use one of the two."
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
        """The plan with the least noise that keeps all its rounds within ``target_epsilon``.

        The target becomes the plan's budget too.
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
        """Which two data sets the guarantee compares."""
        return adjacency_of(self.bands, self.cohort_cap)

    @property
    def sampler(self) -> str:
        """How cohorts must be drawn."""
        return sampler_of(self.bands, self.cohort_cap)

    @property
    def is_private(self) -> bool:
        """Whether there is any noise, and nobody can repeat it."""
        return self.noise_multiplier > 0 and self.noise_source == SECURE

    @property
    def stamp(self) -> str:
        """What every artefact of a run must say about its privacy."""
        return "see ledger.jsonl" if self.is_private else "none"

    @property
    def release(self) -> Release:
        """What one round releases; with bands, what any `bands` rounds in a row release.

        Noise that a seed repeats counts as none.
        """
        return Release(
            sampling_rate=self.bands * self.sampling_rate,
            noise_multiplier=self.noise_multiplier if self.noise_source == SECURE else 0.0,
            cohort_cap=self.cohort_cap,
            population=self.population if self.cohort_cap else 0,
        )

    def releases_in(self, rounds: int) -> int:
        """How many releases so many rounds are: ceil(rounds / bands)."""
        return -(-whole(rounds=rounds) // self.bands)

    def charge(self, step: int) -> Release | None:
        """What the ``step``-th round since the process began (from 0) adds to the ledger.

        With bands the first of every `bands` rounds is charged for all of them. A process that resumes a run
        begins a cycle, and noise, of its own: nobody takes part twice in a cycle that was charged once.
        """
        return None if whole(step=step) % self.bands else self.release

    def epsilon(self, rounds: int | None = None, pld: bool = True) -> Epsilon:
        """Epsilon after so many rounds, by default all that are planned."""
        return self.epsilon_of(self.releases_in(self.rounds if rounds is None else rounds), pld)

    def epsilon_of(self, releases: int, pld: bool = True) -> Epsilon:
        """Epsilon after so many releases: of a run with crashes there are more than its rounds come to."""
        return epsilon([replace(self.release, count=whole(releases=releases))], self.delta, pld)

    def extrapolate(self, population: int, cohort: float) -> "PrivacyPlan":
        """The same training at another scale: sigma_DP, delta and rounds stay, z becomes sigma_DP * S'.

        That the model would come out the same is the paper's assumption, not a result; show the epsilon
        of such a plan only beside this one's.
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

    def require_budget(self, own: Iterable[Release], others: Iterable[Release] = ()) -> None:
        """Refuse the next round if it would pass the budget; call it before the cohort is drawn.

        Where all that was released on these people is this run's own, each release is of the plan's one kind,
        fixed before the first result. So is then how many fit the budget, and to stop sooner, or to try a
        round again after a crash, changes nothing of what that many together promise: the best of all Renyi
        orders and PLD count. RDP decides in microseconds while it suffices; beyond that PLD is asked, first
        about all the rounds of the plan: one answer then serves every round of a run that fits.

        Where other runs released too, or this run under another plan, later releases were chosen with the
        results of earlier ones in view: everything together must pass the filter of
        `privacy.accounting.filters`, which allows fewer rounds. With z from `calibrate` such a run stops
        before its last round. (These are two statements, of the fixed run and of the filter, each at delta:
        if a run is dropped for its results and another follows, both hold together at twice delta.)

        Args:
            own: this run's releases so far on these people.
            others: all others on them: of other runs, and of runs whose model this one started from.

        Raises:
            BudgetExhausted: naming what is spent, what the round would make of it, and the budget.
        """
        if self.epsilon_budget is None:
            return
        mine, rest = merge(own), merge(others)
        kind = replace(self.release, count=0)
        if not rest and all(replace(one, count=0) == kind for one in mine):
            self._require_fixed(sum(one.count for one in mine), self.epsilon_budget)
        else:
            self._require_filter((*mine, *rest), self.epsilon_budget)

    def _require_fixed(self, done: int, budget: float) -> None:
        if self.epsilon_of(done + 1, pld=False).value <= budget:
            return
        for releases in (max(done + 1, self.releases_in(self.rounds)), done + 1):
            if (would_be := self.epsilon_of(releases).value) <= budget:
                return
        raise BudgetExhausted(
            f"The budget is epsilon={budget:g} at delta={self.delta:g}; "
            f"{epsilon_text(self.epsilon_of(done).value, 6)} is spent and one more round would make it "
            f"{epsilon_text(would_be, 6)}. Stop here, or start a run with a higher budget or more noise."
        )

    def _require_filter(self, so_far: tuple[Release, ...], budget: float) -> None:
        would_be = filtered_epsilon((*so_far, self.release), budget, self.delta)
        if would_be <= budget:
            return
        spent = filtered_epsilon(so_far, budget, self.delta)
        raise BudgetExhausted(
            f"The budget is epsilon={budget:g} at delta={self.delta:g}, and other releases on these people "
            f"were known when this run was planned, so a privacy filter counts: {epsilon_text(spent, 6)} is "
            f"spent by all of them together and one more round would make it {epsilon_text(would_be, 6)}. "
            "Stop here; with more noise, more rounds fit. (A budget that is raised with results in view "
            "promises less than it says.)"
        )

    def describe(self) -> dict[str, object]:
        """The plan and its epsilon in plain values, fit for JSON (an infinite epsilon becomes None)."""
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
    """Both bounds, the claim and its accountant, as JSON can hold them."""

    def plain(number: float | None) -> float | None:
        return number if number is not None and math.isfinite(number) else None

    return {
        "epsilon": {"rdp": plain(bounds.rdp), "pld": plain(bounds.pld), "order": plain(bounds.order)},
        "claim": plain(bounds.value),
        "accountant": bounds.accountant,
    }
