"""The charts of a report as plain values, thinned to what a screen can show; `page/report.js` draws them.

Each chart has a sentence that says what it shows, for those who do not see it, and a table beside it on the
page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from cli.report.cohorts import Expectation
from cli.report.owner_files import TensorBounds, Traffic, UpdateNorms
from cli.report.run_facts import RunFacts

MOST_POINTS = 400  # of a curve
MOST_COLUMNS, MOST_ROWS = 160, 320  # of a heat map
MOST_LINES = 200  # of a table of rounds
Chart = dict[str, Any]
Line = Mapping[str, Any]
T = TypeVar("T")


def thinned(values: Sequence[T], most: int) -> list[T]:
    """At most `most` values at equal distances, with the first and the last.

    Example:
        >>> thinned(range(11), 3), thinned([1, 2], 3)
        ([0, 5, 10], [1, 2])
    """
    if len(values) <= most:
        return list(values)
    return [values[round(index * (len(values) - 1) / (most - 1))] for index in range(most)]


def points(lines: Sequence[Line], x: str, y: str) -> list[list[float]]:
    """The lines that have finite `x` and `y`, as pairs, thinned."""
    found = [[line[x], line[y]] for line in lines if _is_finite(line.get(x)) and _is_finite(line.get(y))]
    return thinned(found, MOST_POINTS)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def curves(
    title: str,
    runs: Sequence[tuple[str, Sequence[Line]]],
    x: str,
    fields: Mapping[str, str],
    *,
    percent: bool = False,
    x_title: str = "round",
    y_title: str = "",
) -> Chart | None:
    """Fields of the rounds' lines over `x`; None if no run has any.

    Args:
        title: What it shows.
        runs: Label and lines of each run.
        x: Field of the horizontal axis.
        fields: Fields and their names; with several runs, each is a line of each run.
        percent: Whether values are shares.
        x_title: Name of the horizontal axis.
        y_title: Name of the vertical axis.
    """
    series = []
    for run, (label, lines) in enumerate(runs):
        for kind, (field, name) in enumerate(fields.items()):
            if found := points(lines, x, field):
                said = name if len(runs) == 1 else f"{label}, {name}" if len(fields) > 1 else label
                series.append({"name": said, "run": run, "kind": kind, "points": found})
    if not series:
        return None
    said = " ".join(_course(one, percent, x_title) for one in series)
    return {
        "chart": "lines",
        "title": title,
        "x": x_title,
        "y": y_title,
        "percent": percent,
        "series": series,
        "said": said,
    }


def _course(series: Mapping[str, Any], percent: bool, x_title: str) -> str:
    found = series["points"]
    (first_x, first), (last_x, last) = found[0], found[-1]
    low = min(found, key=lambda point: point[1])

    def shown(value: float) -> str:
        return f"{100 * value:.1f} %" if percent else f"{value:.4g}"

    return (
        f"{series['name']}: {shown(first)} at {x_title} {first_x:.3g}, {shown(last)} at {x_title} "
        f"{last_x:.3g}; lowest {shown(low[1])} at {x_title} {low[0]:.3g}."
    )


def cohort_chart(facts: RunFacts, traffic: Traffic) -> Chart | None:
    """Drawn speakers by round beside the interval that Poisson sampling makes one expect."""
    drawn = [[line.round, line.drawn] for line in traffic.rounds]
    if not drawn:
        return None
    expected = Expectation.of(facts.plan)
    return {
        "chart": "cohort",
        "title": "Drawn speakers by round",
        "x": "round",
        "y": "drawn speakers",
        "points": thinned(drawn, MOST_POINTS),
        "mean": expected.mean,
        "band": list(expected.band),
        "said": expected.in_words([one for _, one in drawn]),
    }


def heat_map(norms: UpdateNorms, bounds: TensorBounds | None) -> Chart:
    """Update norms by tensor and round, and where bounds are known also over the clip bound."""
    columns = _binned(norms.norms, norms.rounds, MOST_COLUMNS)
    per_row = math.ceil(len(norms.tensors) / MOST_ROWS)
    starts = range(0, len(norms.tensors), per_row)
    values = [[float(np.mean(row[start : start + per_row])) for _, _, row in columns] for start in starts]
    rows = [_row_name(norms.tensors[start : start + per_row]) for start in starts]
    limits = None
    if bounds is not None:
        parts = [bounds.bounds[start : start + per_row] for start in starts]
        limits = [math.fsum(part) / len(part) for part in parts]
    top = max(range(len(norms.tensors)), key=lambda index: norms.mean[index])
    return {
        "chart": "heat",
        "title": "Update norms by tensor and round, before clipping",
        "rows": rows,
        "columns": [[first, last] for first, last, _ in columns],
        "values": [[float(f"{value:.3g}") for value in row] for row in values],
        "bounds": limits and [float(f"{one:.4g}") for one in limits],
        "said": f"Mean L2 norm of the speakers' updates of {len(norms.tensors)} tensors over "
        f"{len(norms.rounds)} rounds. The largest on average is {norms.tensors[top]}, with "
        f"{norms.mean[top]:.3g}.",
    }


def _row_name(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _binned(
    rows: Sequence[Sequence[float]], rounds: Sequence[int], most: int
) -> list[tuple[int, int, list[float]]]:
    """First and last round of each bin of consecutive rounds, and the mean of its rows."""
    size = math.ceil(len(rounds) / most)
    found = []
    for start in range(0, len(rounds), size):
        part = rows[start : start + size]
        found.append((rounds[start], rounds[start : start + size][-1], np.mean(part, axis=0).tolist()))
    return found


def tensor_chart(norms: UpdateNorms, bounds: TensorBounds) -> Chart:
    """By tensor: the mean update norm, the clip bound, and the norm of the noise."""
    ratio = bounds.signal_to_noise(norms.mean)
    clipped = sum(norm > bound for norm, bound in zip(norms.mean, bounds.bounds, strict=True))
    said = f"The mean update is above the clip bound in {clipped} of {len(norms.tensors)} tensors."
    if ratio is not None:
        said += f" The signal is at most {min(ratio):.2g} to {max(ratio):.2g} times the noise of one round."
    return {
        "chart": "tensors",
        "title": "Update, clip bound and noise by tensor",
        "names": list(norms.tensors),
        "norms": [float(f"{one:.4g}") for one in norms.mean],
        "bounds": [float(f"{one:.4g}") for one in bounds.bounds],
        "noise": bounds.noise and [float(f"{one:.4g}") for one in bounds.noise],
        "said": said,
    }


def traffic_chart(traffic: Traffic) -> Chart | None:
    """Megabytes to and from the nodes by round."""
    lines = [
        {
            "round": one.round,
            "down": one.bytes_down / 1e6,
            "up": one.bytes_up / 1e6,
        }
        for one in traffic.rounds
    ]
    fields = {"down": "to the nodes", "up": "from the nodes"}
    return curves("Traffic by round", [("", lines)], "round", fields, y_title="megabytes")


def speaker_chart(evaluation: Mapping[str, Any]) -> Chart | None:
    """The WER of each speaker in ascending order, the worst tenth apart."""
    rates = sorted(
        (one["wer"], name)
        for name, one in evaluation.get("by_speaker", {}).items()
        if _is_finite(one.get("wer"))
    )
    if not rates:
        return None
    worst = max(1, round(len(rates) / 10))
    median = rates[len(rates) // 2][0]
    mean = (evaluation.get("wer") or {}).get("rate")
    return {
        "chart": "speakers",
        "title": "WER of each held-out speaker",
        "rates": [[rate, name] for rate, name in thinned(rates, 1000)],
        "worst": worst,
        "mean": mean if _is_finite(mean) else None,
        "said": f"{len(rates)} speakers: the best has a WER of {100 * rates[0][0]:.1f} %, the median "
        f"{100 * median:.1f} %, the worst {100 * rates[-1][0]:.1f} %.",
    }
