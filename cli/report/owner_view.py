"""What only the owner's page says of a run: cohorts, faults, nodes, traffic and norms without noise, in
tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cli.report.charts import (
    MOST_LINES,
    Chart,
    cohort_chart,
    heat_map,
    tensor_chart,
    thinned,
    traffic_chart,
)
from cli.report.owner_files import TensorBounds, Traffic, UpdateNorms
from cli.report.run_facts import RunFacts
from cli.report.run_view import Row, Table

MOST_FAULTS = 50
MOST_NODES = 200


@dataclass(frozen=True, kw_only=True)
class OwnerView:
    """The owner's tables and charts of one run; what the folder does not have is None or empty.

    `update_norm` is the mean norm of a speaker's whole update before clipping, without noise.
    """

    totals: Sequence[tuple[str, str]]
    cohorts: Table | None
    cohort: Chart | None
    traffic: Chart | None
    faults: Table | None
    nodes: Table | None
    heat: Chart | None
    tensors: Chart | None
    norms: Table | None
    update_norm: float | None
    without_bounds: str


def owner_view(facts: RunFacts) -> OwnerView:
    """Read the owner's files of a run."""
    traffic, norms = Traffic.of(facts.folder), UpdateNorms.of(facts.folder)
    bounds = TensorBounds.of(facts, norms.tensors) if norms else None
    return OwnerView(
        totals=_totals(traffic),
        cohorts=_cohorts(traffic),
        cohort=cohort_chart(facts, traffic),
        traffic=traffic_chart(traffic),
        faults=_faults(traffic),
        nodes=_nodes(traffic),
        heat=heat_map(norms, bounds) if norms else None,
        tensors=tensor_chart(norms, bounds) if norms and bounds else None,
        norms=_norms(norms, bounds) if norms else None,
        update_norm=math.hypot(*norms.mean) if norms else None,
        without_bounds=_without_bounds(facts, bounds) if norms else "",
    )


def _totals(traffic: Traffic) -> list[tuple[str, str]]:
    if not traffic.rounds:
        return []
    asked, answered = traffic.total("nodes_asked"), traffic.total("nodes_answered")
    rejected = sum(times for _, _, times in traffic.faults)
    return [
        ("nodes", f"{len(traffic.nodes):,}"),
        ("answers", f"{answered:,.0f} of {asked:,.0f} asked"),
        ("nodes left out", f"{rejected:,} times"),
        ("models to the nodes", f"{traffic.total('bytes_down') / 1e6:,.1f} MB"),
        ("sums back", f"{traffic.total('bytes_up') / 1e6:,.1f} MB"),
        ("time of the rounds", f"{traffic.total('seconds'):,.0f} s"),
    ]


def _cohorts(traffic: Traffic) -> Table | None:
    shown = thinned(traffic.rounds, MOST_LINES)
    rows: list[Row] = [
        (
            f"{one.round}",
            f"{one.drawn:,}",
            f"{one.nodes_answered} of {one.nodes_asked}",
            f"{len(one.dropped)}",
            f"{one.bytes_down / 1e6:,.2f}",
            f"{one.bytes_up / 1e6:,.2f}",
            f"{one.seconds:.1f}",
        )
        for one in shown
    ]
    some = "" if len(shown) == len(traffic.rounds) else f" ({len(shown)} of {len(traffic.rounds)} rounds)"
    titles = ("round", "drawn", "nodes that answered", "left out", "MB down", "MB up", "seconds")
    return Table(caption=f"Cohorts and answers by round{some}", titles=titles, rows=rows) if rows else None


def _faults(traffic: Traffic) -> Table | None:
    faults = traffic.faults
    if not faults:
        return None
    more = f" ({MOST_FAULTS} of {len(faults)})" if len(faults) > MOST_FAULTS else ""
    rows = [(f"{node}", reason, f"{times}") for node, reason, times in faults[:MOST_FAULTS]]
    return Table(
        caption=f"Nodes that were left out, and why{more}", titles=("node", "reason", "rounds"), rows=rows
    )


def _nodes(traffic: Traffic) -> Table | None:
    items = list(traffic.nodes.items())
    more = f" ({MOST_NODES} of {len(items)})" if len(items) > MOST_NODES else ""
    rows = [(f"{node}", f"{down / 1e6:,.2f}", f"{up / 1e6:,.2f}") for node, (down, up) in items[:MOST_NODES]]
    titles = ("node", "MB down", "MB up")
    return Table(caption=f"Traffic by node{more}", titles=titles, rows=rows) if rows else None


def _norms(norms: UpdateNorms, bounds: TensorBounds | None) -> Table:
    ratio = bounds.signal_to_noise(norms.mean) if bounds else None
    rows = []
    for index, name in enumerate(norms.tensors):
        row = [name, f"{norms.mean[index]:.3g}"]
        if bounds:
            row += [f"{bounds.sizes[index]:,}", f"{bounds.bounds[index]:.3g}"]
        if bounds and bounds.noise and ratio:
            row += [f"{bounds.noise[index]:.3g}", f"{ratio[index]:.2g}"]
        rows.append(tuple(row))
    titles = ["tensor", "mean update norm"]
    titles += ["values", "clip bound"] if bounds else []
    titles += ["noise of a round", "signal to noise, at most"] if ratio else []
    return Table(caption="Update norms by tensor, mean over the rounds", titles=tuple(titles), rows=rows)


def _without_bounds(facts: RunFacts, bounds: TensorBounds | None) -> str:
    """Why clip bounds or the noise are missing, or what they are not."""
    section = facts.config.privacy
    if bounds is None:
        return (
            f"The clip rule '{section.clip_rule}' bounds no single tensors, or the model file does not have "
            f"these tensors: the bound C of the whole update is {section.clip_bound:g}."
        )
    if section.adaptive_clip:
        return "The bounds follow the updates; those at the start are shown."
    if facts.plan.bands > 1:
        return (
            "Later rounds take a part of each round's noise back (bands): a ratio for one round says little."
        )
    return ""
