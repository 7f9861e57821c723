"""A round as a line of metrics.jsonl: the numbers of the table and of the round's report, by name.

`server/report/metrics_lines.py` has the schema of the file, and reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from privacy.group_statistics import ReleasedGroup
from server.report.live_table import Row

GROUP_FIELDS = {
    "update_norm": "group_update_norm_noised",
    "clipped_share": "group_clipped_share_noised",
    "signal_to_noise": "group_signal_to_noise",
}
"""Attributes of a `ReleasedGroup`, and the fields of metrics.jsonl that have them by group, as an object."""


def as_metrics(row: Row) -> dict[str, Any]:
    """Return the metrics of a row; those that were not measured are NaN.

    Guarantee: the metrics are public facts and noised numbers only. The number of drawn speakers is neither,
    nor is the duration of the round, which reveals it (`RunFolder.append_traffic` keeps both). The privacy
    gain of sampling requires that the size of the cohort is secret (docs/privacy.md gives the size of this
    effect).
    """
    metrics: dict[str, Any] = {
        "round": row.round_number,
        "loss": row.loss,
        "wer": row.wer,
        "cer": row.cer,
        "epsilon_rdp_this_run": row.epsilon_run,
        "epsilon_rdp_extrapolated": row.epsilon_extrapolated,
    }
    if row.epsilon_model is not None:
        metrics["epsilon_rdp_model"] = row.epsilon_model
    if row.epsilon_population is not None:
        metrics["epsilon_rdp_population"] = row.epsilon_population
    if row.report is None:
        return metrics
    report = row.report
    noised = {f"{name}_noised": value for name, value in report.statistics.items()}
    stated = {"learning_rate": report.learning_rate, "clip_bound": report.clip_bound}
    return {**stated, **noised, **_by_group(report.groups), **metrics}


def _by_group(groups: Sequence[ReleasedGroup]) -> dict[str, dict[str, float]]:
    """What is known of the groups, by field and by the group's name."""
    found = {
        field: {one.name: value for one in groups if (value := getattr(one, attribute)) is not None}
        for attribute, field in GROUP_FIELDS.items()
    }
    return {field: values for field, values in found.items() if values}
