"""What `murmur evaluate` shows a person: rates, speakers, the other model, the worst utterances, speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from base.counts import count_of
from speech.evaluation.assessment import Assessment, Comparison, UtteranceResult
from speech.evaluation.bootstrap import FEW_SPEAKERS, LEVEL, Interval
from speech.evaluation.edit_table import Kind, columns, rows
from speech.evaluation.error_rates import EditCounts

if TYPE_CHECKING:
    from cli.evaluate.choice import Choice
    from cli.evaluate.result import Result, Speech

STYLES: dict[Kind, str] = {"equal": "", "substitute": "yellow", "insert": "cyan", "delete": "red"}
SPEAKERS_SHOWN = 8
_INDENT = "  "


def show(
    console: Console,
    speech: Speech,
    mine: Result,
    others: Sequence[Result],
    comparison: Comparison | None,
    worst: int,
    choice: Choice,
) -> None:
    """Print it all; coloured on a terminal, plain elsewhere."""
    console.print(_heading(speech, mine, choice), soft_wrap=True)
    console.print(_rates(mine.assessment))
    _show_speakers(console, mine.assessment)
    if choice.by:
        console.print(_by(choice.by, mine.groups))
    if comparison is not None:
        console.print(_compared(others[0], comparison), soft_wrap=True)
    _show_worst(console, mine.assessment.worst_utterances(worst))
    console.print(_speed(mine), soft_wrap=True)


def _heading(speech: Speech, mine: Result, choice: Choice) -> Text:
    parameters = sum(parameter.numel() for parameter in mine.loaded.model.parameters())
    speakers = count_of(len(mine.assessment.speakers), "speaker")
    utterances = count_of(len(mine.assessment.utterances), "utterance")
    skipped = f", {mine.skipped} more skipped for their audio" if mine.skipped else ""
    return Text(
        f"model   {mine.path} ({mine.loaded.preset}, {parameters:,} parameters, {choice.decoding}"
        f"{_window(mine)})\n"
        f"speech  {speech.corpus.name}, split {speech.split!r}: {speakers}, {utterances}, "
        f"{_duration(mine.audio_seconds)}{skipped}\n"
    )


def _window(result: Result) -> str:
    return f", {result.window} window" if result.window else ""


def _rates(found: Assessment) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for title in ("rate", f"{LEVEL:.0%} interval", "errors", "subst.", "ins.", "del.", "of"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, counts, interval in (
        (f"WER ({found.normaliser})", found.words, found.word_interval),
        (f"CER ({found.normaliser})", found.characters, found.character_interval),
    ):
        table.add_row(
            name,
            Text(_percent(counts.rate), style="bold"),
            _range(interval),
            *(f"{n:,}" for n in (counts.errors, counts.substitutions, counts.insertions, counts.deletions)),
            f"{counts.reference_length:,}",
        )
    return table


def _by(field: str, groups: Mapping[str, Assessment]) -> Table:
    """The WER of each value of a field."""
    table = Table(title=f"WER by {field}", title_justify="left", title_style="", box=None, pad_edge=False)
    table.add_column("")
    for title in ("rate", f"{LEVEL:.0%} interval", "errors", "words", "utterances", "speakers"):
        table.add_column(title, justify="right")
    for value, found in groups.items():
        table.add_row(
            Text(value or "(none)"),
            _percent(found.words.rate) if found.words.reference_length else "-",
            _range(found.word_interval),
            *(f"{n:,}" for n in (found.words.errors, found.words.reference_length)),
            *(f"{n:,}" for n in (len(found.utterances), len(found.speakers))),
        )
    return table


def _show_speakers(console: Console, found: Assessment) -> None:
    console.print(Text(_sure(found.word_interval) + "\n", style="dim"), soft_wrap=True)
    if len(found.speakers) < 2:
        return
    table = Table(title="WER of a speaker", title_justify="left", title_style="", box=None, pad_edge=False)
    names = {0.0: "best", 0.5: "median", 1.0: "worst"}
    for quantile in found.speaker_quantiles:
        table.add_column(names.get(quantile, f"{quantile:.0%}"), justify="right", min_width=7)
    table.add_row(*(_percent(rate) for rate in found.speaker_quantiles.values()))
    console.print(table)
    tenth = found.worst_speakers
    listed = ", ".join(f"{one.speaker} {_percent(one.words.rate)}" for one in tenth[:SPEAKERS_SHOWN])
    more = f" and {len(tenth) - SPEAKERS_SHOWN} more" if len(tenth) > SPEAKERS_SHOWN else ""
    together = EditCounts.total(one.words for one in tenth).rate
    console.print(Text(f"worst tenth: {_percent(together)} ({listed}{more})\n"), soft_wrap=True)


def _compared(other: Result, comparison: Comparison) -> Text:
    theirs, interval = comparison.theirs, comparison.interval
    points = f"{100 * comparison.difference:+.1f} points"
    between = "no interval, there is one speaker only"
    if interval is not None:
        low, high = 100 * interval.low, 100 * interval.high
        between = f"{LEVEL:.0%} interval {low:+.1f} to {high:+.1f}, paired by speaker"
    verdict = {
        "better": ("this model is better", "green"),
        "worse": ("this model is worse", "red"),
        "undecided": ("the difference may be chance", "yellow"),
    }[comparison.verdict]
    return Text.assemble(
        f"against {other.path}{_window(other)}: ",
        f"WER {_percent(theirs.words.rate)}, CER {_percent(theirs.characters.rate)}\n",
        f"difference in WER {points} ({between}): ",
        verdict,
        f"; fewer errors for {comparison.speakers_better} of {len(theirs.speakers)} speakers\n",
    )


def _show_worst(console: Console, worst: Sequence[UtteranceResult]) -> None:
    if not worst:
        return
    console.print(
        Text.assemble(
            "worst utterances (",
            ("S substituted", STYLES["substitute"]),
            ", ",
            ("I inserted", STYLES["insert"]),
            ", ",
            ("D deleted", STYLES["delete"]),
            ")\n",
        ),
        soft_wrap=True,
    )
    for result in worst:
        errors, words = result.words.errors, result.words.reference_length
        console.print(Text(f"{result.id}: {count_of(errors, 'error')} in {count_of(words, 'word')}"))
        console.print(aligned(result.reference, result.hypothesis, console.width), soft_wrap=True)


def aligned(reference: str, hypothesis: str, width: int) -> Text:
    """Both texts, word under word, in lines of at most `width` characters."""
    text = Text()
    labels = ("spoken    ", "recognised", "          ")
    for row in rows(columns(reference, hypothesis), width - len(_INDENT) - 6):
        for label, line in zip(labels, zip(*(column.cells() for column in row), strict=True), strict=True):
            text.append(f"{_INDENT}{label} ")
            for column, cell in zip(row, line, strict=True):
                text.append(cell, STYLES[column.kind]).append(" ")
            text.rstrip()
            text.append("\n")
    return text


def _speed(mine: Result) -> Text:
    audio = mine.audio_seconds
    return Text(
        f"real-time factor {mine.real_time_factor:.3f} on {torch.get_num_threads()} thread(s): "
        f"{mine.feature_seconds / audio:.3f} for reading and features, {mine.model_seconds / audio:.3f} for "
        "the model and decoding, in batches"
    )


def _sure(interval: Interval | None) -> str:
    if interval is None:
        return "no interval: it is drawn over speakers, and there is one only"
    few = f"; with fewer than {FEW_SPEAKERS} it is too narrow" if interval.speakers < FEW_SPEAKERS else ""
    return f"intervals: bootstrap over {count_of(interval.speakers, 'speaker')}{few}"


def _range(interval: Interval | None) -> str:
    return "-" if interval is None else f"{100 * interval.low:.1f} to {100 * interval.high:.1f} %"


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes" if seconds < 3600 else f"{seconds / 3600:.2f} hours"
