"""A round as a line of metrics.jsonl: the numbers of the table and of the round's report, by name.

`server/report/metrics_lines.py` has the schema of the file, and reads it.
"""

from __future__ import annotations

from typing import Any

from server.report.live_table import Row


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
    return {"learning_rate": report.learning_rate, "clip_bound": report.clip_bound, **noised, **metrics}
