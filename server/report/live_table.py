"""The live table of a run: one line a round, in plain text that fits any log."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from base.counts import count_of
from base.printable_text import one_line
from privacy import PrivacyPlan, epsilon_text
from server.spending import Spending
from speech.evaluation.evaluation import Evaluation
from strategies import RoundReport

WIDTHS = (5, 6, 7, 6, 6, 7, 7, 10, 13)
TITLES = ("round", "cohort", "loss", "WER %", "CER %", "clipped", "seconds", "eps (run)", "eps (extrap.)")
MODEL, POPULATION = "eps (model)", "eps (population)"
MOST_NAMED = 8  # excluded nodes that are listed for a round, and in the summary


@dataclass(frozen=True, kw_only=True)
class Row:
    """The numbers of one line; those that were not measured in this round are NaN.

    Attributes:
        report: The strategy's report; None before the first round of this process.
        loss: Loss on the held-out speech.
        wer: Word error rate on it.
        cer: Character error rate on it.
        seconds: Duration of the round.
        epsilon_run: RDP bound of this run alone.
        epsilon_extrapolated: RDP bound of the extrapolated plan after as many rounds.
        epsilon_population: RDP bound of all runs on this population; None if there are no others.
        epsilon_model: RDP bound of this run and those that made its seed model; None without such runs.
        round_number: The round.
    """

    report: RoundReport | None
    loss: float
    wer: float
    cer: float
    seconds: float
    epsilon_run: float
    epsilon_extrapolated: float
    epsilon_population: float | None = None
    epsilon_model: float | None = None
    round_number: int = 0

    @classmethod
    def of(
        cls,
        report: RoundReport | None,
        round_number: int,
        evaluation: Evaluation | None,
        spending: Spending,
        seconds: float,
    ) -> Row:
        """Return the row of a round; `evaluation` is None if the round has none."""
        population, model = spending.of_population(pld=False), spending.of_model(pld=False)
        return cls(
            report=report,
            round_number=round_number,
            loss=evaluation.loss if evaluation else math.nan,
            wer=evaluation.wer if evaluation else math.nan,
            cer=evaluation.cer if evaluation else math.nan,
            seconds=seconds,
            epsilon_run=spending.of_run(pld=False).value,
            epsilon_extrapolated=spending.if_extrapolated(round_number, pld=False).value,
            epsilon_population=population.value if population else None,
            epsilon_model=model.value if model else None,
        )


def opening(*, nodes: int, speakers: int, model: str, folder: Path, resumed_after: int | None) -> str:
    """Return the lines above the table: nodes, speakers, model, run folder, and the round of a resumption."""
    resumed = "" if resumed_after is None else f"resumed after round {resumed_after}\n"
    held = f"{count_of(nodes, 'node')} with {count_of(speakers, 'speaker')}"
    return f"\nMurmuration: {held}; {model}\nrun folder: {folder}\n{resumed}\n"


def noise_in_words(plan: PrivacyPlan, clip_bound: float, trained: int) -> str:
    """Return the line that compares the noise of a round with one speaker's bound; "" without privacy.

    Args:
        plan: The privacy plan.
        clip_bound: The bound C of one speaker's update, at the start.
        trained: The number d of trained parameters.

    The norm is z C sqrt(d) / (q N), to some percent for d above 1,000. With bands the noise of one round says
    little, since later rounds take a part of it back; then there is no such line.
    """
    if not plan.is_private or plan.bands > 1:
        return ""
    norm = plan.sigma_dp * clip_bound * math.sqrt(trained)
    return (
        f"noise on the mean update of a round: norm {norm:.3g}, for {trained:,} trained parameters; one "
        f"speaker's update has at most {clip_bound:.3g}\n"
    )


def heading(spending: Spending, held_out_speakers: int, share: float = 1.0) -> str:
    """Return the explanation of the columns, then the column titles.

    `share` of the held-out utterances is evaluated in a row. Releases of other runs on the population add a
    column, and so do those of runs that made the seed model.
    """
    plan, extrapolated, more = spending.plan, spending.extrapolated, _more_columns(spending)
    titles = "  ".join(title.rjust(width) for title, width in zip(TITLES, WIDTHS, strict=True))
    return "\n".join(
        [
            *warning(plan),
            f"loss, WER and CER: on {held_out_speakers} held-out speakers{_part_of_them(share)}",
            "clipped: the share of layers that were clipped, with noise",
            f"eps (run): THIS run: population {plan.population:,}, expected cohort {plan.cohort:g}, "
            f"delta {plan.delta:g}",
            *_after_all_rounds(plan),
            f"eps (extrap.): not this run, but the same noise on the mean with a population of "
            f"{extrapolated.population:,} and a cohort of {extrapolated.cohort:,.0f}"
            f"{extrapolated.remark_on_delta}",
            *(f"{name}: {meaning}" for name, meaning in more.items()),
            f"each epsilon: {plan.adjacency}, {plan.sampler} sampling, RDP bound (the summary adds PLD)",
            "",
            "  ".join([titles, *more]),
        ]
    )


def _part_of_them(share: float) -> str:
    return f", {share:.3g} of their utterances; the summary has all" if share < 1 else ""


def _more_columns(spending: Spending) -> dict[str, str]:
    """The titles of further columns, and their meanings."""
    account, columns = spending.account, {}
    if account.inherited:
        columns[MODEL] = (
            f"THE epsilon of the model: this run and {count_of(account.inherited, 'release')} of the runs "
            "that made its seed model, together"
        )
    if account.others:
        of_seed = ", or of the runs that made its seed model" if account.inherited else ""
        columns[POPULATION] = (
            f"this run and {count_of(account.others, 'release')} of earlier runs on the same "
            f"speakers{of_seed}, together"
        )
    return columns


def _after_all_rounds(plan: PrivacyPlan) -> list[str]:
    """The epsilon of this run after its last round, which is known beforehand; nothing without privacy."""
    if not plan.is_private:
        return []
    spent = plan.epsilon_of(plan.releases_in(plan.rounds))
    return [
        f"    after all {count_of(plan.rounds, 'round')}: epsilon {epsilon_text(spent.value)} by "
        f"{spent.accountant}, for the population of this run"
    ]


def warning(plan: PrivacyPlan) -> list[str]:
    """Return the warning that every report of a run without privacy begins with; empty for a private run."""
    if plan.is_private:
        return []
    why = "its noise can be repeated from a seed" if plan.noise_multiplier else "it adds no noise"
    return [f"privacy: none. This run protects nobody: {why}"]


def line(row: Row) -> str:
    """Return the line of one round, and the nodes that it excludes."""
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
    for title, value in ((MODEL, row.epsilon_model), (POPULATION, row.epsilon_population)):
        if value is not None:
            text += "  " + epsilon_text(value).rjust(len(title))
    dropped = report.dropped if report else ()
    for drop in dropped[:MOST_NAMED]:
        text += f"\n       node {drop.node} left out: {one_line(drop.reason)}"
    if len(dropped) > MOST_NAMED:
        text += f"\n       and {len(dropped) - MOST_NAMED} more nodes left out: traffic.jsonl names them all"
    return text


def _share(value: float) -> str:
    """Noise may move a share out of [0, 1]; the table shows the nearest possible value."""
    return "-" if math.isnan(value) else f"{min(1.0, max(0.0, value)):.2f}"


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def share_trained(model: nn.Module, trained: int) -> str:
    """Return the number of a model's parameters, and how many of them are trained if not all are."""
    everything = sum(value.numel() for value in model.parameters())
    share = "" if trained == everything else f"{trained:,} trained of "
    return f"{share}{everything:,} parameters"
