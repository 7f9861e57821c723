"""What a report says of one run, for its owner or for the public, in the words and tables of the page.

Guarantee: for the public, all that comes from a file passes through `cli.report.public`; `OwnerView` is not
made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cli.composing import as_toml, default_config
from cli.report import public
from cli.report.charts import MOST_LINES, thinned
from cli.report.run_facts import RunFacts
from privacy import Epsilon, epsilon_text
from server.report.card_privacy import WEAK
from server.report.live_table import warning

Row = tuple[str, ...]
NOT_HELD_OUT = (
    "Error rates are left out: held-out speakers may be in the population, and no epsilon covers what is "
    "computed from their speech."
)
RAW_METRICS = (
    "The nodes' metrics were also written without noise; no epsilon covers a choice that is based on them."
)
_TITLES = {
    "loss": "loss",
    "wer": "WER",
    "cer": "CER",
    "learning_rate": "server learning rate",
    "clip_bound": "clip bound C",
    "epsilon_rdp_this_run": "epsilon (RDP)",
    "epsilon_rdp_extrapolated": "extrapolated, not this run (RDP)",
    "epsilon_rdp_model": "epsilon of the model (RDP)",
    "epsilon_rdp_population": "epsilon of all runs (RDP)",
}
_SHARES = ("wer", "cer")
BY_GROUP = {
    "group_signal_to_noise": "Signal to noise of the released mean update, by group of layers",
    "group_update_norm_noised": "Norm of a speaker's update before clipping, with noise, by group of layers",
    "group_clipped_share_noised": "Share of clipped tensors, with noise, by group of layers",
}
"""Fields that have a number for each group of layers, and what they are."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with its caption, its titles and its rows."""

    caption: str
    titles: Row
    rows: Sequence[Row]


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A run as the page shows it; charts are beside it (`cli.report.page_view`)."""

    label: str
    facts: Sequence[tuple[str, str]]
    private: bool
    epsilon: str
    sentence: str
    bounds: Table
    warnings: Sequence[str]
    extrapolated: str
    extrapolation: str
    results: Sequence[Mapping[str, str]]
    notes: Sequence[str]
    settings: Mapping[str, Any]
    recipe: str
    left_out: int
    lines: Sequence[Mapping[str, Any]]
    rounds: Table
    by_group: Sequence[Table]
    evaluation: Mapping[str, Any] = field(default_factory=dict)


def run_view(facts: RunFacts, evaluation: Mapping[str, Any], label: str, *, for_public: bool) -> RunView:
    """The view of a run.

    Args:
        facts: What the run folder has.
        evaluation: Of evaluation.json, or of a file of `murmur evaluate`; for the public as
            `public.public_evaluation` returns it.
        label: Its name on the page.
        for_public: Whether the report is for the public.
    """
    settings = public.public_settings(facts.config) if for_public else facts.config.to_flat()
    default = default_config()
    changed = {key: value for key, value in settings.items() if default.get(key) != value}
    lines = _lines(facts, for_public=for_public)
    return RunView(
        label=label,
        facts=_facts(facts, for_public=for_public),
        private=facts.plan.is_private,
        epsilon=_epsilon(facts.headline),
        sentence=_sentence(facts),
        bounds=_bounds(facts),
        warnings=(*_weak(facts), *(facts.warnings_without_names if for_public else facts.warnings)),
        extrapolated=_epsilon(facts.extrapolated),
        extrapolation=_extrapolation(facts),
        results=_results(lines, evaluation),
        notes=_notes(facts, for_public=for_public),
        settings=settings,
        recipe=as_toml(changed),
        left_out=len(facts.config.to_flat()) - len(settings),
        lines=lines,
        rounds=_rounds(lines),
        by_group=_tables_by_group(lines),
        evaluation=evaluation,
    )


def _lines(facts: RunFacts, *, for_public: bool) -> list[Mapping[str, Any]]:
    """The rounds, with numbers only; the owner's have all that metrics.jsonl has."""
    if for_public:
        covered, named = facts.held_out_is_covered, "model.name" in public.public_settings(facts.config)
        return [public.public_metrics(one, held_out=covered, named=named) for one in facts.metrics]
    return [
        {
            name: public.numbers_by_group(value) if name in public.METRICS_BY_GROUP else public.number(value)
            for name, value in line.items()
            if name not in ("privacy", "resumed")
        }
        for line in facts.metrics
    ]


def _facts(facts: RunFacts, *, for_public: bool) -> list[tuple[str, str]]:
    plan, config = facts.plan, facts.config
    days = " to ".join(facts.days) or "not recorded"
    names = public.public_settings(config) if for_public else config.to_flat()
    kind = names.get("corpus.kind")
    speech = {"embedded": "the shipped synthetic corpus", "synthetic": "synthetic speakers"}
    own = [] if for_public else [("run folder", str(facts.folder.path)), ("run", facts.run)]
    return [
        ("run", public.run_name(facts.run)) if for_public else own[1],
        *own[:1],
        ("days of its releases", days),
        (
            "made by",
            f"Murmuration {facts.release}" if facts.release else "a release that its folder does not name",
        ),
        ("model", str(names.get("model.name", "a model of the owner's"))),
        ("speech", speech.get(str(kind), f"kind '{kind}'") if kind else "a kind of the owner's"),
        ("population N", f"{plan.population:,} speakers"),
        ("expected cohort S", f"{plan.cohort:g} speakers a round"),
        ("rounds", f"{facts.rounds_done} of {plan.rounds} planned"),
    ]


def _epsilon(found: Epsilon) -> str:
    return epsilon_text(found.value)


def _both(found: Epsilon) -> str:
    pld = "not computed" if found.pld is None else epsilon_text(found.pld)
    return f"RDP {epsilon_text(found.rdp)}, PLD {pld}"


def _sentence(facts: RunFacts) -> str:
    """The guarantee in one plain sentence."""
    plan, found = facts.plan, facts.headline
    if not plan.is_private:
        return (
            f"{warning(plan)[0].removeprefix('privacy: ')}. Nothing on this page is covered by a guarantee."
        )
    chained = ", and those of the runs that made its seed model" if facts.inherited else ""
    epsilon = epsilon_text(found.value)
    return (
        f"Whether any one speaker's recordings were used or not changes how likely any outcome is (all "
        f"models "
        f"of all rounds{chained}, with all numbers that carry noise) by a factor of at most e^{epsilon}, but "
        f"for a probability of {plan.delta:g}: epsilon {epsilon} at delta {plan.delta:g} by "
        f"{found.accountant}; adjacency: {plan.adjacency}; sampler: {plan.sampler}."
    )


def _bounds(facts: RunFacts) -> Table:
    plan = facts.plan
    rows: list[Row] = []
    if plan.is_private:
        rows += [("epsilon of the model", f"{_epsilon(facts.headline)} ({_both(facts.headline)})")]
        if facts.inherited:
            rows += [("this run alone", f"{_epsilon(facts.spent)} ({_both(facts.spent)})")]
        if facts.other_releases:
            said = f"{_epsilon(facts.together)} ({_both(facts.together)})"
            rows += [("all runs on these speakers", f"{said}, if all parameters were fixed in advance")]
    rows += [
        ("delta", f"{plan.delta:g}"),
        ("unit", "one speaker, with all their speech"),
        ("adjacency", plan.adjacency),
        ("sampler", plan.sampler),
        (
            "accountant",
            f"{facts.headline.accountant}, the smaller of two upper bounds" if plan.is_private else "none",
        ),
        ("releases in the ledger", f"{facts.releases:,}"),
        ("noise multiplier z, on the sum", f"{plan.noise_multiplier:.4g}"),
        ("noise on the mean, z / S", f"{plan.sigma_dp:.3g}"),
        (
            "trust",
            "the server is trusted to draw, to add the noise and to forget the nodes' sums (central DP)",
        ),
    ]
    return Table(caption="What the guarantee depends on", titles=("", "this run"), rows=rows)


def _weak(facts: RunFacts) -> list[str]:
    if not facts.plan.is_private or facts.headline.value <= WEAK:
        return []
    return [f"This epsilon is above {WEAK:g}: it gives little protection."]


def _extrapolation(facts: RunFacts) -> str:
    larger = facts.larger
    return (
        f"the same noise on the mean with a population of {larger.population:,} and a cohort of "
        f"{larger.cohort:,.0f} ({_both(facts.extrapolated)}), if the model were the same there"
        f"{larger.remark_on_delta}. No run had that population."
    )


def percent(rate: float | None) -> str:
    """A share as text, in per cent."""
    return "not measured" if rate is None or not math.isfinite(rate) else f"{100 * rate:.1f} %"


def _results(lines: Sequence[Mapping[str, Any]], evaluation: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """WER and CER before and after, with the interval where the run was evaluated at its end."""
    found: list[Mapping[str, str]] = []
    for name in _SHARES:
        measured = [line[name] for line in lines if line.get(name) is not None]
        rates = evaluation.get(name) or {}
        after = rates.get("rate", measured[-1] if len(measured) > 1 else None)
        if not measured and after is None:
            continue
        interval = rates.get("interval") or {}
        said = f"{100 * interval['low']:.1f} to {100 * interval['high']:.1f} %" if interval else ""
        found.append(
            {
                "name": name.upper(),
                "before": percent(measured[0]) if measured else "not measured",
                "after": percent(after),
                "interval": said,
            }
        )
    return found


def _notes(facts: RunFacts, *, for_public: bool) -> list[str]:
    notes = []
    if for_public and not facts.held_out_is_covered:
        notes.append(NOT_HELD_OUT)
    elif not facts.held_out_is_covered:
        notes.append("Held-out speakers may be in the population: no epsilon covers these error rates.")
    if facts.config.run.raw_metrics:
        notes.append(RAW_METRICS)
    if facts.rounds_done < facts.plan.rounds:
        notes.append(f"The run has made {facts.rounds_done} of its {facts.plan.rounds} rounds.")
    return notes


def _rounds(lines: Sequence[Mapping[str, Any]]) -> Table:
    names = list(dict.fromkeys(name for line in lines for name in line))
    names = ["round", *(name for name in names if name not in ("round", *public.METRICS_BY_GROUP))]
    shown = thinned(lines, MOST_LINES)
    rows = [tuple(_cell(name, line.get(name)) for name in names) for line in shown]
    some = "" if len(shown) == len(lines) else f" ({len(shown)} of {len(lines)} rounds, at equal distances)"
    titles = tuple(_TITLES.get(name, name.replace("_", " ")) for name in names)
    return Table(caption=f"All numbers by round{some}", titles=titles, rows=rows)


def _tables_by_group(lines: Sequence[Mapping[str, Any]]) -> list[Table]:
    """A table of each field that has a number for each group of layers, by round."""
    tables = []
    for name, caption in BY_GROUP.items():
        found = rounds_by_group(lines, name)
        groups = list(dict.fromkeys(group for line in found for group in line if group != "round"))
        rows = [
            (f"{line['round']}", *(_cell(name, line.get(group)) for group in groups))
            for line in thinned(found, MOST_LINES)
        ]
        if rows:
            tables.append(Table(caption=f"{caption} and round", titles=("round", *groups), rows=rows))
    return tables


def rounds_by_group(lines: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """The rounds that have the field `name`: its numbers by group, and the round."""
    return [{**line[name], "round": line["round"]} for line in lines if line.get(name)]


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name in _SHARES:
        return percent(value)
    if name.startswith("epsilon"):
        return epsilon_text(value)
    return f"{value:.5g}"
