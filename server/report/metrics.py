"""A round as a line of metrics.jsonl: the table's numbers and the round's report, by name."""

from __future__ import annotations

from typing import Any

from server.report.live_table import Row


def as_metrics(row: Row) -> dict[str, Any]:
    """Public facts and noised numbers only; what was not measured is NaN.

    How many were drawn is neither, nor how long they took, which tells it (`RunFolder.append_traffic` keeps
    both): the gain from sampling is that of a cohort whose size nobody knows (docs/privacy.md has how much).
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
    if row.epsilon_people is not None:
        metrics["epsilon_rdp_people"] = row.epsilon_people
    if row.report is None:
        return metrics
    report = row.report
    noised = {f"{name}_noised": value for name, value in report.statistics.items()}
    return {"learning_rate": report.learning_rate, "clip_bound": report.clip_bound, **noised, **metrics}
