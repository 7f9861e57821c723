"""The figure of `murmur plan --plot`: epsilon over rounds, and the noise norm beside the bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cli.plan.curves import SIZES, epsilon_by_round, noise_by_size, size_at_the_bound
from cli.plot.matplotlib_files import FigureError, pyplot, require_suffix, save
from privacy.display import epsilon_text
from privacy.plan import PrivacyPlan

LABEL = "population {:,}, cohort {:g}, z = {:.4g}"


def draw(plans: list[PrivacyPlan], file: Path) -> None:
    """Draw plans to `file`: the planned run, and the extrapolated one if it was asked for.

    Left: epsilon (RDP) after each round. Right: the norm of the noise on the mean update of a round, in units
    of the clip bound C, by the number d of trained parameters: sigma_DP sqrt(d). A mean update's norm is at
    most C, and the norm of the noise grows with d; where it passes C, a round's update is mostly noise, and
    fewer trained parameters (adapters) pay.

    Args:
        plans: Private plans; each after the first is marked as not that of this run.
        file: PDF, SVG or PNG.

    Raises:
        FigureError: For another format, without matplotlib, or for a plan without noise.
    """
    require_suffix(file)
    if not plans[0].is_private:
        raise FigureError("--plot: without noise no epsilon is finite; give --noise-multiplier above 0")
    figure, (left, right) = pyplot().subplots(1, 2, figsize=(7.2, 2.8), layout="constrained")
    for place, plan in enumerate(plans):
        style = {"color": ("#3b6ea5", "#c4663a")[place % 2], "linestyle": "--" if place else "-"}
        words = LABEL.format(plan.population, plan.cohort, plan.noise_multiplier)
        _epsilon(left, plan, label=f"not this run: {words}" if place else words, **style)
        if not place or plan.sigma_dp != plans[0].sigma_dp:
            right.plot(*zip(*noise_by_size(plan), strict=True), **style)
    left.set(xlabel="round", ylabel=f"epsilon (RDP) at delta = {plans[0].delta:g}", ylim=(0, None))
    left.legend(fontsize=6)
    _bound(right, plans[0])
    save(figure, [file])


def _epsilon(axes: Any, plan: PrivacyPlan, **style: Any) -> None:
    rounds, values = zip(*epsilon_by_round(plan), strict=True)
    axes.plot(rounds, values, **style)
    axes.annotate(epsilon_text(values[-1]), (rounds[-1], values[-1]), ha="right", va="bottom", fontsize=7)


def _bound(axes: Any, plan: PrivacyPlan) -> None:
    axes.set(xscale="log", yscale="log", xlabel="trained parameters", ylabel="noise on the mean / C")
    axes.axhline(1, color="#5f6a72", linewidth=0.8)
    axes.annotate("the bound C of one speaker", (SIZES[0], 1), va="bottom", fontsize=6, color="#5f6a72")
    crossing = size_at_the_bound(plan)
    if SIZES[0] < crossing < SIZES[-1]:
        axes.axvline(crossing, color="#5f6a72", linewidth=0.8, linestyle=":")
        axes.annotate(
            f"{crossing:,.0f}", (crossing, axes.get_ylim()[0]), rotation=90, va="bottom", fontsize=6
        )
