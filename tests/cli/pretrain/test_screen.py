import io

import pytest
from rich.console import Console

from cli.pretrain.screen import TrainingScreen
from speech.evaluation.evaluation import Evaluation
from speech.pretraining import Epoch, PretrainConfig, Step


class Terminal(io.StringIO):
    """A file at which a person looks."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)


def shown(*, terminal: bool) -> str:
    """What two steps, an early look and an epoch look like."""
    file = Terminal() if terminal else io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=150, color_system=None)
    measured = Evaluation(loss=2.5, wer=0.125, cer=0.0625, ids=(), hypotheses=(), references=())
    epoch = Epoch(
        number=2, loss=30.25, efficiency=0.9, cpu_seconds=7.5, seconds=8.0, evaluations={"dev": measured}
    )
    with TrainingScreen(console, PretrainConfig(epochs=3)) as screen:
        screen.step(Step(number=10, of=40, epoch=2, loss=31.0, learning_rate=3e-3), measured)
        screen.step(Step(number=11, of=40, epoch=2, loss=29.5, learning_rate=3e-3), None)
        screen.epoch(epoch)
    return file.getvalue()


def test_every_pass_and_every_look_is_a_line() -> None:
    look, epoch = (" ".join(line.split()) for line in shown(terminal=False).splitlines())
    assert look == "step 10 loss 31.000 early look: loss 2.500, WER 12.5 %, CER 6.2 %"
    rates = "loss 2.500, WER 12.5 %, CER 6.2 %"
    assert epoch == f"epoch 2/3 loss 30.250 7.5 CPU s 10.0 % padding dev: {rates}"


def test_a_terminal_has_a_bar_with_the_last_look() -> None:
    bar = shown(terminal=True)
    assert "pass 2" in bar and "11/40" in bar
    assert "loss 29.500  rate 0.003  WER 12.5 %" in bar


def test_while_features_are_computed_it_counts_the_speakers() -> None:
    file = Terminal()
    console = Console(file=file, force_terminal=True, width=150, color_system=None)
    with TrainingScreen(console, PretrainConfig()) as screen:
        screen.features("seed", 3, 8)
    assert "features of seed" in file.getvalue() and "3/8 speakers" in file.getvalue()
