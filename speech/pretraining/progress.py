"""What a training reports: its steps, and its passes over the examples."""

from collections.abc import Mapping
from dataclasses import dataclass

from speech.evaluation.evaluation import Evaluation


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step: its number (from 1) and the total, its mean loss in nats per utterance, its learning rate.

    With dynamic batches and a number of epochs, the total `of` is an estimate until the last pass.

    Example:
        >>> Step(number=1, of=100, epoch=1, loss=30.0, learning_rate=1e-4).of
        100
    """

    number: int
    of: int
    epoch: int
    loss: float
    learning_rate: float


@dataclass(kw_only=True)
class Pass:
    """One pass over the examples: its batches, the number of finished ones, and sums over those.

    `audio` and `padded` are frames without and with padding.

    Example:
        >>> current = Pass(number=1, batches=[[0, 1]], done=1, loss=5.0, utterances=2, audio=90, padded=100)
        >>> current.mean_loss, current.efficiency
        (2.5, 0.9)
    """

    number: int
    batches: list[list[int]]
    done: int = 0
    loss: float = 0.0
    utterances: int = 0
    audio: float = 0.0
    padded: float = 0.0

    @property
    def mean_loss(self) -> float:
        """The mean loss in nats per utterance."""
        return self.loss / self.utterances

    @property
    def efficiency(self) -> float:
        """The fraction of frames without padding."""
        return self.audio / self.padded


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass: its mean training loss, the fraction of frames without padding, and any evaluations by split.

    `cpu_seconds` and `seconds` (wall) are those of all steps so far, in this process.

    Example:
        >>> Epoch(number=1, loss=2.5, efficiency=0.9, cpu_seconds=3.0, seconds=3.1, evaluations={}).loss
        2.5
    """

    number: int
    loss: float
    efficiency: float
    cpu_seconds: float
    seconds: float
    evaluations: Mapping[str, Evaluation]
