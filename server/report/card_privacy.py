"""The section of a model card that says what is promised, computed from the ledger."""

from __future__ import annotations

from base.printable_text import in_markdown
from privacy import Epsilon, PrivacyPlan, epsilon, epsilon_text
from privacy.accounting.filters import least_budget
from privacy.accounting.profile import PrivacyProfile
from server.report.live_table import warning
from server.report.model_facts import ModelFacts
from server.report.summary import UNNOISED_READING, unprotected

WEAK = 10.0
"""Above this epsilon a guarantee says little in practice (Ponomareva et al. 2023, arXiv 2303.00654)."""


def privacy_section(facts: ModelFacts) -> str:
    """The guarantee of the run, or in plain words that there is none."""
    return "\n\n".join(["## Privacy", *(_promised(facts) if facts.plan.is_private else _nothing(facts.plan))])


def _nothing(plan: PrivacyPlan) -> list[str]:
    return [
        f"**{warning(plan)[0]}.** Treat the model as if everyone could read the speech it was trained on "
        "out of it."
    ]


def _promised(facts: ModelFacts) -> list[str]:
    plan, spent = facts.plan, facts.headline
    rows = [
        ("epsilon", f"**{epsilon_text(spent.value)}** (RDP {_rdp(spent)}, PLD {_pld(spent)})"),
        *_chained(facts),
        ("delta", f"{plan.delta:g}"),
        ("unit", "one speaker, with all their speech"),
        ("adjacency", plan.adjacency),
        ("sampler", plan.sampler),
        ("population N", f"{plan.population:,}"),
        ("expected cohort S", f"{plan.cohort:g}"),
        ("releases in the ledger", f"{facts.releases}"),
        ("noise multiplier z, on the sum", f"{plan.noise_multiplier:.4g}"),
        ("noise on the mean, z / S", f"{plan.sigma_dp:.4g}"),
        *PrivacyProfile.of(facts.of_model, plan.delta, independent=facts.independent, devices=(2,)).rows(),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return [
        "User-level (epsilon, delta)-differential privacy of all released models of this run together, "
        "computed from its ledger. The server is trusted with the nodes' sums (central DP). The seed model "
        "and the held-out speech count as public: nothing is promised about them.",
        f"| | this run |\n|---|---|\n{table}",
        *(f"**{in_markdown(_capital(note))}.**" for note in (*facts.uncounted, *unprotected(facts.lineage))),
        *_weak(spent),
        *_imagined(facts),
        *_other_runs(facts),
        *_unnoised(facts),
        *_read_aloud(facts),
    ]


def _chained(facts: ModelFacts) -> list[tuple[str, str]]:
    """Where the epsilon covers more runs than this one: which, and what this one has of it."""
    if not facts.inherited:
        return []
    own = facts.spent
    return [
        ("it covers", f"this run and those that its seed model came from: {in_markdown(facts.ancestors)}"),
        ("for", "a person who is in all their populations; an upper bound for everybody else"),
        ("this run alone", f"{epsilon_text(own.value)} (RDP {_rdp(own)}, PLD {_pld(own)})"),
    ]


def _weak(spent: Epsilon) -> list[str]:
    if spent.value <= WEAK:
        return []
    return [
        f"**This epsilon is above {WEAK:g}: as a protection of anyone it says little.** A larger population, "
        "fewer rounds or more noise would make it smaller."
    ]


def _imagined(facts: ModelFacts) -> list[str]:
    larger = facts.extrapolated
    found = larger.epsilon_of(max(larger.releases_in(facts.rounds_done), facts.releases))
    return [
        f"Extrapolated, **not this run**: the same noise on the mean with a population of "
        f"{larger.population:,} and a cohort of {larger.cohort:,.0f} would give epsilon "
        f"{epsilon_text(found.value)} (RDP {_rdp(found)}, PLD {_pld(found)}), if the model came out the same."
    ]


def _other_runs(facts: ModelFacts) -> list[str]:
    if not facts.other_releases:
        return []
    of_seed = ", or as runs that the seed model came from," if facts.inherited else ""
    together = epsilon(facts.all_runs, facts.plan.delta)
    return [
        f"Other runs made {facts.other_releases:,} releases on the same people{of_seed}; all runs together: "
        f"epsilon {epsilon_text(together.value)} (RDP {_rdp(together)}, PLD {_pld(together)}) if all "
        "parameters were fixed in advance; if later runs were chosen by earlier results, a filter lets them "
        f"through at a budget of {epsilon_text(least_budget(facts.all_runs, facts.plan.delta))}, fixed "
        "before the first."
    ]


def _unnoised(facts: ModelFacts) -> list[str]:
    if not facts.config.run.raw_metrics:
        return []
    return ["Un-noised metrics of the nodes were written too; no epsilon covers a choice made by them."]


def _read_aloud(facts: ModelFacts) -> list[str]:
    known = (facts.evaluation or {}).get("heard_in_training", 0)
    if not (known or facts.config.corpus.shared_speakers):
        return []
    return [f"{_capital(UNNOISED_READING)}."]


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _rdp(found: Epsilon) -> str:
    return epsilon_text(found.rdp)


def _pld(found: Epsilon) -> str:
    return "not computed" if found.pld is None else epsilon_text(found.pld)
