"""A run beside the row of the paper that it repeats: error rates, epsilon, and every setting that differs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from cli.composing import config_of_run, default_config
from cli.paper.aligned import aligned
from cli.paper.rows import PaperRow
from privacy.display import epsilon_text
from recipes import ConfigError
from server.storage.json_lines import read_lines
from server.storage.run_folder import RunFolder

# Settings of the machine, which the paper cannot make: keys, or what they begin with.
OWN = (
    *("corpus.path", "corpus.feature-cache", "model.seed", "training.round-deadline-seconds"),
    *("training.evaluate-every", "local.processor-seconds", "local.memory-megabytes", "run."),
)
HEADING = ("split", "seed", "trained", "central", "our seed", "ours", "interval")


def comparison(row: PaperRow, run: Path) -> list[str]:
    """What the paper prints for `row` beside what the finished run of the folder `run` gave, line by line.

    Raises:
        ConfigError: If there is no such folder, or its run did not come to an evaluation.
    """
    folder = RunFolder(run)
    evaluation = folder.read_evaluation()
    if evaluation is None:
        raise ConfigError(
            f"run {run}: it has no evaluation.json; give the folder of a run that came to its end "
            "(`murmur run --resume` goes on with one)"
        )
    metrics = read_lines(folder.metrics)
    split = evaluation["split"]
    splits = [*row.wer, *([] if split in row.wer else [split])]
    rates = [_cells(row, one, metrics[0], evaluation if one == split else None) for one in splits]
    others = [one for one in splits if one != split]
    return [
        f"{row.name} of arXiv 2310.00098 and the run in {run}",
        "",
        "word error rates in %; the first three are printed, ours have an interval over speakers",
        *aligned([HEADING, *rates]),
        *(f"{one} of this run: murmur evaluate --run {run} --split {one}" for one in others),
        "",
        *_epsilon(row, metrics[-1]),
        *_differences(row, run),
    ]


def _cells(
    row: PaperRow, split: str, first: dict[str, Any], evaluation: dict[str, Any] | None
) -> tuple[str, ...]:
    printed = [_percent(rates.get(split)) for rates in (row.at_seed, row.wer, row.central)]
    if evaluation is None:
        return (split, *printed, "-", "-", "-")
    wer = evaluation["wer"]
    ours = [_percent(None if rate is None else 100 * rate) for rate in (first.get("wer"), wer["rate"])]
    interval = wer["interval"]
    text = f"{100 * interval['low']:.1f} to {100 * interval['high']:.1f}" if interval else "-"
    return (split, *printed, *ours, text)


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1f}"


def _epsilon(row: PaperRow, last: dict[str, Any]) -> list[str]:
    printed = next((f"{one.corrected.epsilon:g}" for one in row.epsilons if one.is_trained), "none")
    ours = last.get("epsilon_rdp_this_run")  # "inf" without noise
    shown = epsilon_text(math.inf if ours is None else float(ours))
    return [f"epsilon at the real population: printed {printed}, ours {shown} (RDP)"]


def _differences(row: PaperRow, run: Path) -> list[str]:
    """Each setting of the run that is not the row's: with any, the run is another one than the paper's."""
    wanted = {**default_config(), **row.recipe}
    differences = [
        f"  {key} = {value!r}, in the row {wanted[key]!r}"
        for key, value in config_of_run(run).to_flat().items()
        if key in wanted and value != wanted[key] and not key.startswith(OWN)
    ]
    heading = "not the row as the paper has it; these settings differ:"
    return [heading, *differences] if differences else ["all settings are those of the row"]
