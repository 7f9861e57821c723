"""The live table of a run: one line a round, in plain text that any log can carry."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from base.printable_text import one_line
from privacy import PrivacyPlan, epsilon_text
from strategies import RoundReport

WIDTHS = (5, 6, 7, 6, 6, 7, 7, 10, 13)
TITLES = ("round", "cohort", "loss", "WER %", "CER %", "clipped", "seconds", "eps (run)", "eps (extrap.)")
MODEL, PEOPLE = "eps (model)", "eps (people)"
MOST_NAMED = 8  # of the nodes that were left out, here and in the summary


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line's worth of numbers; what was not measured this round is NaN."""

    report: RoundReport | None
    loss: float
    wer: float
    cer: float
    seconds: float
    epsilon_run: float
    epsilon_extrapolated: float
    epsilon_people: float | None = None
    epsilon_model: float | None = None
    round_number: int = 0


def opening(*, nodes: int, speakers: int, model: str, folder: Path, resumed_after: int | None) -> str:
    """Who is there, what is trained, where it goes, and after which round it goes on."""
    resumed = "" if resumed_after is None else f"resumed after round {resumed_after}\n"
    return (
        f"\nMurmuration: {nodes} nodes hold {speakers} speakers; {model}\nrun folder: {folder}\n{resumed}\n"
    )


def heading(
    plan: PrivacyPlan, extrapolated: PrivacyPlan, held_out_speakers: int, earlier: int = 0, inherited: int = 0
) -> str:
    """What the columns mean, then the column titles.

    `earlier` releases of other runs add a column, and so do `inherited` ones of the seed model's runs.
    """
    of_seed = ", or of its seed model's runs" if inherited else ""
    more = {
        MODEL: f"this run and {inherited:,} releases of the runs that its seed model came from, together: "
        "THE epsilon of the model"
        if inherited
        else "",
        PEOPLE: f"this run and {earlier:,} releases of earlier runs on the same people{of_seed}, together"
        if earlier
        else "",
    }
    titles = "  ".join(title.rjust(width) for title, width in zip(TITLES, WIDTHS, strict=True))
    return "\n".join(
        [
            *warning(plan),
            f"loss, WER and CER on {held_out_speakers} held-out speakers; 'clipped' is the noised "
            "share of layers that were clipped",
            f"eps (run): THIS run, as it is: population {plan.population:,}, expected cohort "
            f"{plan.cohort:g}, delta {plan.delta:g}",
            *_in_the_end(plan),
            f"eps (extrap.): the same noise on the mean, if the population were "
            f"{extrapolated.population:,} and the cohort {extrapolated.cohort:,.0f}; not this run",
            *(f"{name}: {meaning}" for name, meaning in more.items() if meaning),
            f"all: {plan.adjacency}, {plan.sampler} sampling, RDP upper bound (the summary adds PLD)",
            "",
            "  ".join([titles, *(name for name, meaning in more.items() if meaning)]),
        ]
    )


def _in_the_end(plan: PrivacyPlan) -> list[str]:
    """What the whole run will have spent of its own, known before it begins; nothing without privacy."""
    if not plan.is_private:
        return []
    spent = plan.epsilon_of(plan.releases_in(plan.rounds))
    return [
        f"    when all {plan.rounds} rounds are done: epsilon {epsilon_text(spent.value)} by "
        f"{spent.accountant}, of this run's own population"
    ]


def warning(plan: PrivacyPlan) -> list[str]:
    """What must stand above the numbers of a run without privacy; nothing for others."""
    if plan.is_private:
        return []
    why = "its noise can be repeated from a seed" if plan.noise_multiplier else "it adds no noise"
    return [f"privacy: none. This run protects nobody: {why}"]


def line(row: Row) -> str:
    """One round."""
    report = row.report
    cells = (
        str(report.round_number if report else row.round_number),
        str(report.drawn) if report else "-",
        _number(row.loss, ".3f"),
        _number(100 * row.wer, ".1f"),
        _number(100 * row.cer, ".1f"),
        _share(report.statistics["clipped_share"]) if report else "-",
        _number(row.seconds, ".1f"),
        epsilon_text(row.epsilon_run),
        epsilon_text(row.epsilon_extrapolated),
    )
    text = "  ".join(cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True))
    for title, value in ((MODEL, row.epsilon_model), (PEOPLE, row.epsilon_people)):
        if value is not None:
            text += "  " + epsilon_text(value).rjust(len(title))
    dropped = report.dropped if report else ()
    for drop in dropped[:MOST_NAMED]:
        text += f"\n       node {drop.node} left out: {one_line(drop.reason)}"
    if len(dropped) > MOST_NAMED:
        text += f"\n       and {len(dropped) - MOST_NAMED} more nodes left out: traffic.jsonl names them all"
    return text


def _share(value: float) -> str:
    """Noise may carry a share out of its range; the table shows the nearest possible one."""
    return "-" if math.isnan(value) else f"{min(1.0, max(0.0, value)):.2f}"


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def share_trained(model: nn.Module, trained: int) -> str:
    """How many parameters a model has, and how many of them are trained where that is not all."""
    everything = sum(value.numel() for value in model.parameters())
    share = "" if trained == everything else f"{trained:,} trained of "
    return f"{share}{everything:,} parameters"
