"""A round as a line of metrics.jsonl: the table's numbers and the round's report, by name."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from server.live_table import Row


def as_metrics(row: Row) -> dict[str, Any]:
    """Public facts and noised numbers only; what was not measured is NaN."""
    metrics: dict[str, Any] = {
        "round": row.round_number,
        "loss": row.loss,
        "wer": row.wer,
        "cer": row.cer,
        "seconds": row.seconds,
        "epsilon_rdp_this_run": row.epsilon_run,
        "epsilon_rdp_extrapolated": row.epsilon_extrapolated,
    }
    if row.epsilon_people is not None:
        metrics["epsilon_rdp_people"] = row.epsilon_people
    if row.report is None:
        return metrics
    report = asdict(row.report)
    statistics = report.pop("statistics")
    del report["traffic"]  # by node; `RunFolder.append_traffic` keeps that
    report |= {"bytes_down": row.report.bytes_down, "bytes_up": row.report.bytes_up}
    report["dropped"] = [asdict(drop) for drop in row.report.dropped]
    return {**report, **{f"{name}_noised": value for name, value in statistics.items()}, **metrics}
