"""The tables of an evaluation on the page: by speaker, over the speakers, by a field, and the comparison.

`found` is the content of evaluation.json or of a file of `murmur evaluate --json`; for the public as
`public.public_evaluation` returns it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli.report.run_view import Table, percent

MOST_SPEAKERS = 200  # of a table
QUANTILES = {
    "0": "best",
    "0.1": "10 %",
    "0.25": "25 %",
    "0.5": "median",
    "0.75": "75 %",
    "0.9": "90 %",
    "1": "worst",
}


def by_speaker(found: Mapping[str, Any]) -> Table | None:
    """The WER of each speaker, the worst first; None without speakers."""
    speakers = [
        (name, one) for name, one in found.get("by_speaker", {}).items() if one.get("wer") is not None
    ]
    if not speakers:
        return None
    speakers.sort(key=lambda pair: -pair[1]["wer"])
    some = f" (the worst {MOST_SPEAKERS} of {len(speakers)})" if len(speakers) > MOST_SPEAKERS else ""
    rows = [(str(name), percent(one["wer"]), f"{one['words']:,}") for name, one in speakers[:MOST_SPEAKERS]]
    return Table(caption=f"WER by speaker{some}", titles=("speaker", "WER", "words"), rows=rows)


def quantiles(found: Mapping[str, Any]) -> Table | None:
    """How the WER is spread over the speakers; None if that was not measured."""
    rates, tenth = found.get("speaker_wer_quantiles"), found.get("worst_tenth") or {}
    if not rates:
        return None
    known = {QUANTILES[key]: percent(rates[key]) for key in QUANTILES if key in rates}
    if tenth:
        known["worst tenth together"] = percent(tenth.get("wer"))
    return Table(caption="WER over the speakers", titles=tuple(known), rows=[tuple(known.values())])


def by_field(found: Mapping[str, Any]) -> Table | None:
    """The WER by the values of a field of the corpus; None if none was asked for."""
    by = found.get("by")
    if not by:
        return None
    rows = []
    for value, one in by["values"].items():
        interval = one["wer"].get("interval") or {}
        said = f"{100 * interval['low']:.1f} to {100 * interval['high']:.1f} %" if interval else ""
        rows.append((value or "(none)", percent(one["wer"].get("rate")), said, f"{one['speakers']:,}"))
    titles = (str(by["field"]), "WER", "interval", "speakers")
    return Table(caption=f"WER by {by['field']}", titles=titles, rows=rows)


def against(found: Mapping[str, Any]) -> str:
    """The comparison with another model, in a sentence; empty without one."""
    other = found.get("against")
    if not other or other.get("wer_difference") is None:
        return ""
    interval = other.get("interval") or {}
    said = (
        f" (interval {100 * interval['low']:+.1f} to {100 * interval['high']:+.1f}, paired by speaker)"
        if interval
        else ""
    )
    before = (other.get("wer") or {}).get("rate")
    return (
        f"Beside the model that it was compared with (WER {percent(before)}): "
        f"{100 * other['wer_difference']:+.1f} points{said}."
    )
