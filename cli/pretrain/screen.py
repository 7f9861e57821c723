"""What `murmur pretrain` shows while it trains: a bar on a terminal, and a line for each pass."""

import os
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from base.terminal import is_interactive
from speech.evaluation.evaluation import Evaluation
from speech.pretraining import Epoch, PretrainConfig, Step

_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("{task.fields[said]}{task.fields[look]}"),
    TimeRemainingColumn(),
)


class TrainingScreen:
    """A context whose `step` and `epoch` are shown as they come."""

    def __init__(self, console: Console, config: PretrainConfig) -> None:
        self.console, self.config = console, config
        self._progress = Progress(*_COLUMNS, console=console, transient=True, disable=not _looked_at(console))
        self._task = self._progress.add_task("", total=None, said="", look="")

    def __enter__(self) -> "TrainingScreen":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def features(self, split: str, done: int, of: int) -> None:
        """Before the first step: the features of so many speakers are there."""
        self._progress.update(
            self._task, description=f"features of {split}", completed=done, total=of, said="speakers"
        )

    def step(self, step: Step, look: Evaluation | None) -> None:
        """Move the bar; an early look stays on it until the next, and gets a line of its own."""
        shown: dict[str, Any] = {"said": f"loss {step.loss:.3f}  rate {step.learning_rate:.2g}"}
        if look is not None:
            shown["look"] = f"  WER {100 * look.wer:.1f} %"
            self._line(f"step {step.number:>6}  loss {step.loss:8.3f}  early look: {rates(look)}")
        self._progress.update(
            self._task, description=f"pass {step.epoch}", completed=step.number, total=step.of, **shown
        )

    def epoch(self, epoch: Epoch) -> None:
        """One line for one pass."""
        of = f"/{self.config.epochs}" if self.config.epochs else ""
        line = f"epoch {epoch.number:>3}{of}  loss {epoch.loss:8.3f}  {epoch.cpu_seconds:6.1f} CPU s"
        line += f"  {100 * (1 - epoch.efficiency):.1f} % padding"
        for split, evaluation in epoch.evaluations.items():
            line += f"  {split}: {rates(evaluation)}"
        self._line(line)

    def _line(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)


def _looked_at(console: Console) -> bool:
    """Its lines and its bar are on one screen; processes beside the first have none."""
    return not console.quiet and is_interactive(console.file, os.environ)


def rates(evaluation: Evaluation) -> str:
    """Loss and error rates on one line."""
    return f"loss {evaluation.loss:.3f}, WER {100 * evaluation.wer:.1f} %, CER {100 * evaluation.cer:.1f} %"
