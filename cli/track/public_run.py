"""What a tracker may have of a run folder.

Guarantee: the metrics of metrics.jsonl by its schema, the tensors of released models, and the settings that a
public report may show (`cli.report.public`). Nothing comes from traffic.jsonl, not_private.jsonl, the summary
or the log, and no path and no name of a population leaves.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli.composing import config_of_run
from cli.report import public
from cli.track.trackers import Settings, TrackError
from recipes import ConfigError
from server.report.metrics_lines import MetricsLine, read_metrics

FINISHED = "evaluation.json"
SEED, MODEL = "seed.safetensors", "model.safetensors"
PAUSE_SECONDS = 2.0


def public_settings(folder: Path) -> Settings:
    """Return the settings that may be shown, by their keys.

    Raises:
        TrackError: If the folder has no configuration, or one that is not valid.
    """
    try:
        return public.public_settings(config_of_run(folder))
    except ConfigError as error:
        raise TrackError(str(error)) from None


def new_lines(folder: Path, *, follow: bool) -> Iterator[MetricsLine]:
    """Yield each round; a round that a resumed run made again comes again.

    Args:
        folder: The run folder.
        follow: Wait for further rounds until the run has written its evaluation.
    """
    seen: dict[int, MetricsLine] = {}
    while True:
        finished = (folder / FINISHED).exists()  # asked first: no round comes after it
        for line in read_metrics(folder):
            if seen.get(line.round) != line:
                seen[line.round] = line
                yield line
        if finished or not follow:
            return
        time.sleep(PAUSE_SECONDS)


def released_tensors(folder: Path, newest: int) -> Iterator[tuple[int, str, NDArray[Any]]]:
    """Yield (round, name, values) of the seed model and of the newest released model (round `newest`)."""
    from safetensors.numpy import load_file

    for number, file in ((0, folder / SEED), (newest, folder / MODEL)):
        if file.is_file():
            for name, values in load_file(file).items():
                if values.size and np.issubdtype(values.dtype, np.floating):
                    yield number, name, values
