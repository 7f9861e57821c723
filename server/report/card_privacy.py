"""The section "Privacy" of a model card, computed from the ledger."""

from __future__ import annotations

from base.counts import count_of
from base.printable_text import in_markdown
from privacy import Epsilon, PrivacyPlan, epsilon, epsilon_text
from privacy.accounting.filters import least_budget
from privacy.accounting.profile import PrivacyProfile
from server.report.live_table import warning
from server.report.model_facts import ModelFacts
from server.report.summary import UNNOISED_EVALUATION

WEAK = 10.0
"""Above this epsilon a guarantee means little in practice (Ponomareva et al. 2023, arXiv 2303.00654)."""


def privacy_section(facts: ModelFacts) -> str:
    """Return the guarantee of the run, or the statement that there is none."""
    return "\n\n".join(["## Privacy", *(_promised(facts) if facts.plan.is_private else _nothing(facts.plan))])


def _nothing(plan: PrivacyPlan) -> list[str]:
    return [f"**{warning(plan)[0]}.** Assume that anyone who has the model can extract the training speech."]


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
        "and the held-out speech count as public: the guarantee does not cover them.",
        f"| | this run |\n|---|---|\n{table}",
        *(f"**{in_markdown(_capital(note))}.**" for note in facts.warnings),
        *_weak(spent),
        *_extrapolated(facts),
        *_other_runs(facts),
        *_unnoised(facts),
        *_unnoised_evaluation(facts),
    ]


def _chained(facts: ModelFacts) -> list[tuple[str, str]]:
    """If the epsilon covers more runs than this one: these runs, and the epsilon of this run alone."""
    if not facts.inherited:
        return []
    own = facts.spent
    return [
        ("covers", f"this run and those that made its seed model: {in_markdown(facts.ancestors)}"),
        ("holds for", "a person who is in all their populations; an upper bound for everyone else"),
        ("this run alone", f"{epsilon_text(own.value)} (RDP {_rdp(own)}, PLD {_pld(own)})"),
    ]


def _weak(spent: Epsilon) -> list[str]:
    if spent.value <= WEAK:
        return []
    return [
        f"**This epsilon is above {WEAK:g}: it gives little protection.** A larger population, fewer rounds "
        "or more noise would make it smaller."
    ]


def _extrapolated(facts: ModelFacts) -> list[str]:
    larger = facts.extrapolated
    found = larger.epsilon_of(max(larger.releases_in(facts.rounds_done), facts.releases))
    return [
        f"Extrapolated, **not this run**: the same noise on the mean with a population of "
        f"{larger.population:,} and a cohort of {larger.cohort:,.0f} would give epsilon "
        f"{epsilon_text(found.value)} (RDP {_rdp(found)}, PLD {_pld(found)}), if the model were the same"
        f"{larger.remark_on_delta}."
    ]


def _other_runs(facts: ModelFacts) -> list[str]:
    if not facts.other_releases:
        return []
    of_seed = ", and the runs that made its seed model," if facts.inherited else ""
    together = epsilon(facts.all_runs, facts.plan.delta)
    least = epsilon_text(least_budget(facts.all_runs, facts.plan.delta))
    return [
        f"Other runs on the same speakers{of_seed} made {count_of(facts.other_releases, 'release')}. "
        f"All runs together: epsilon {epsilon_text(together.value)} (RDP {_rdp(together)}, "
        f"PLD {_pld(together)}) if all parameters were fixed in advance. If later runs were chosen by "
        f"earlier results, a privacy filter admits them at a budget of {least} that was "
        "fixed before the first run."
    ]


def _unnoised(facts: ModelFacts) -> list[str]:
    if not facts.config.run.raw_metrics:
        return []
    return ["The nodes' metrics were also written without noise; no epsilon covers a choice based on them."]


def _unnoised_evaluation(facts: ModelFacts) -> list[str]:
    shared = (facts.evaluation or {}).get("speakers_in_training", 0)
    if not (shared or facts.config.corpus.shared_speakers):
        return []
    return [f"{_capital(UNNOISED_EVALUATION)}."]


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _rdp(found: Epsilon) -> str:
    return epsilon_text(found.rdp)


def _pld(found: Epsilon) -> str:
    return "not computed" if found.pld is None else epsilon_text(found.pld)
