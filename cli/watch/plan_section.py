"""What a run's plan promises to its end, as a section of the live page (the figure of `murmur plan --plot`).

Guarantee: it is made of the plan's public facts and of the run's view, which for the public has only what
`cli.report.public` lets pass; no file is opened here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli.plan.curves import SIZES, epsilon_by_round, noise_by_size, size_at_the_bound, variants
from cli.report.charts import Chart, points
from cli.report.page_view import PlanSection, Section
from cli.report.run_view import Table, percent
from privacy import PrivacyPlan, epsilon_text

WITHOUT_PRIVACY = "This run adds no secret noise: no number of rounds has a finite epsilon."
BANDS = (
    "Later rounds take a part of each round's noise back (bands), so over the run it weighs less than this."
)
Points = Sequence[Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class PlannedCurves:
    """Epsilon (RDP) over the rounds of a plan and of others beside it.

    Attributes:
        plan: The plan of the run.
        own: Of the plan.
        larger: Of the plan at the recipe's larger population and cohort, with its name.
        cohorts: Of other cohorts, by their names, the planned one among them.
        noise: Of other noise multipliers.
        rows: Of all, for a table: cohort, noise multiplier and epsilon at the end.
    """

    plan: PrivacyPlan
    own: Points
    larger: tuple[str, Points]
    cohorts: Mapping[str, Points]
    noise: Mapping[str, Points]
    rows: Sequence[tuple[str, ...]]

    @classmethod
    def of(cls, plan: PrivacyPlan, larger: PrivacyPlan) -> PlannedCurves:
        """Compute them; of a private plan that takes up to some seconds (a capped cohort)."""
        own = epsilon_by_round(plan)
        cohorts = {_marked(f"S = {one.cohort:g}", one == plan): one for one in variants(plan, "cohort")}
        noise = {
            _marked(f"z = {one.noise_multiplier:.4g}", one == plan): one
            for one in variants(plan, "noise_multiplier")
        }
        found = {name: epsilon_by_round(one) for name, one in {**cohorts, **noise}.items()}
        rows = [
            (name, f"{one.cohort:g}", f"{one.noise_multiplier:.4g}", epsilon_text(found[name][-1][1]))
            for name, one in {**cohorts, **noise}.items()
        ]
        return cls(
            plan=plan,
            own=own,
            larger=(
                f"not this run: N = {larger.population:,}, S = {larger.cohort:g}",
                epsilon_by_round(larger),
            ),
            cohorts={name: found[name] for name in cohorts},
            noise={name: found[name] for name in noise},
            rows=rows,
        )


def plan_section(curves: PlannedCurves | None, section: Section, trained: int | None) -> PlanSection:
    """The section.

    Args:
        curves: The curves of the run's plan; None for a run without privacy.
        section: What the page says of the run.
        trained: The number d of trained parameters, where the page may have it.
    """
    if curves is None:
        return PlanSection(notes=[WITHOUT_PRIVACY])
    bound = _newest(section.view.lines, "clip_bound")
    typical, said = _typical_update(section, bound)
    charts = [
        _to_the_end(curves, section.view.lines),
        _others("Epsilon at other cohorts, with the planned noise multiplier (RDP)", curves.cohorts),
        _others("Epsilon at other noise multipliers, with the planned cohort (RDP)", curves.noise),
        _noise(curves.plan, trained, typical, said),
    ]
    titles = ("plan", "cohort S", "noise multiplier z", f"epsilon after {curves.plan.rounds:,} rounds")
    return PlanSection(
        notes=[_note(curves)],
        charts=charts,
        table=Table(caption="Epsilon at the end, by cohort and noise (RDP)", titles=titles, rows=curves.rows),
    )


def _marked(name: str, planned: bool) -> str:
    return f"{name} (planned)" if planned else name


def _note(curves: PlannedCurves) -> str:
    plan, end = curves.plan, curves.own[-1][1]
    budget = plan.epsilon_budget
    stops = f" The run stops by itself before it passes its budget of {budget:g}." if budget else ""
    return (
        f"After all {plan.rounds:,} planned rounds epsilon is {epsilon_text(end)} (RDP) at delta "
        f"{plan.delta:g}, if no round is made twice.{stops}"
    )


def _series(found: Mapping[str, Points]) -> list[dict[str, Any]]:
    series = []
    for kind, (name, curve) in enumerate(found.items()):
        if shown := [list(point) for point in curve if math.isfinite(point[1])]:
            series.append({"name": name, "run": 0, "kind": kind, "points": shown})
    return series


def _lines(title: str, y: str, found: Mapping[str, Points], said: str, **more: Any) -> Chart:
    return {
        **{"chart": "lines", "title": title, "x": "round", "y": y, "percent": False},
        **{"series": _series(found), "said": said, **more},
    }


def _to_the_end(curves: PlannedCurves, lines: Sequence[Mapping[str, Any]]) -> Chart:
    """Where the run goes: what is spent, what is planned, and the budget."""
    plan, spent = curves.plan, points(lines, "round", "epsilon_rdp_this_run")
    found: dict[str, Points] = {"spent so far": spent, "planned": curves.own}
    if plan.epsilon_budget is not None:
        found["budget"] = [(1, plan.epsilon_budget), (plan.rounds, plan.epsilon_budget)]
    found |= dict([curves.larger])
    said = f"Planned are {epsilon_text(curves.own[-1][1])} after {plan.rounds:,} rounds."
    if spent:
        said = f"{epsilon_text(spent[-1][1])} are spent after round {spent[-1][0]:g}. {said}"
    name, larger = curves.larger
    said += f" {name[0].upper()}{name[1:]}; there it would be {epsilon_text(larger[-1][1])}."
    chart = _lines("Epsilon to the end of the plan (RDP, this run)", "epsilon", found, said)
    chart["series"].sort(key=lambda one: one["kind"] == 0)  # what is spent is drawn above what is planned
    return chart


def _others(title: str, found: Mapping[str, Points]) -> Chart:
    ends = "; ".join(f"{epsilon_text(curve[-1][1])} at {name}" for name, curve in found.items())
    return _lines(title, "epsilon", found, f"After the last round: {ends}.")


def _noise(plan: PrivacyPlan, trained: int | None, typical: float | None, update: str) -> Chart:
    """The norm of a round's noise by trained parameters, beside the bound and the typical update."""
    ends, crossing = (SIZES[0], SIZES[-1]), size_at_the_bound(plan)
    found: dict[str, Points] = {
        "noise on the mean update": noise_by_size(plan),
        "the bound C of one speaker": [(one, 1.0) for one in ends],
    }
    if typical:  # nothing is at 0 on a logarithmic axis
        found["update of a speaker, without noise"] = [(one, typical) for one in ends]
    said = (
        f"The noise of a round has the norm of the bound C at {crossing:,.0f} trained parameters: below "
        "that, adapters and other small parts pay, since their updates can be larger than their noise. "
    )
    if crossing < SIZES[0]:
        said = (
            f"With {SIZES[0]:,.0f} trained parameters already the noise of a round is larger than the bound "
            "C: adapters alone do not help here, more speakers in a round do. "
        )
    uprights = {"noise = C": crossing}
    if trained is not None:
        said += f"This run trains {trained:,}: its noise is {plan.sigma_dp * math.sqrt(trained):.3g} C. "
        uprights["this run"] = trained
    said += f"{update} {BANDS if plan.bands > 1 else ''}"
    shown = [{"at": at, "name": name} for name, at in uprights.items() if ends[0] < at < ends[1]]
    title = "Noise of a round beside the update, by trained parameters"
    return _lines(title, "L2 norm in units of C", found, said.strip(), log=True, uprights=shown) | {
        "x": "trained parameters"
    }


def _typical_update(section: Section, bound: float | None) -> tuple[float | None, str]:
    """The typical update's norm in units of C, and what is said of it.

    Only the owner of a run with raw metrics has the norm. Everybody else learns from the noised share of
    clipped layers whether updates reach their bounds.
    """
    if section.owner is not None and section.owner.update_norm is not None and bound:
        norm = section.owner.update_norm / bound
        return norm, f"A speaker's update has {norm:.3g} C on average before clipping, without noise."
    share = _newest(section.view.lines, "clipped_share_noised")
    if share is None or not -0.25 <= share <= 1.25:  # noise alone
        return None, ""
    where = "reaches its bound" if share >= 0.5 else "is smaller than its bound"
    return None, (
        f"The typical layer's update {where}: the share that was clipped in the newest round is "
        f"{percent(share)}, with noise."
    )


def _newest(lines: Sequence[Mapping[str, Any]], name: str) -> float | None:
    found = [one[name] for one in lines if one.get(name) is not None and math.isfinite(one[name])]
    return found[-1] if found else None
