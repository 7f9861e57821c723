"""A node's side of SCAFFOLD: the control variates c_i of its speakers, in Flower's state of the run.

They grow with speakers x model and stay in Flower's state. So this is for small federations without privacy;
a private run refuses it (`client.training.algorithms`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from flwr.app import ArrayRecord, RecordDict
from torch import Tensor

from client.training.process import SpeakerProcess
from client.training.process_messages import Trained
from client.training.speaker_round import SpeakerRound
from wire.messages import CONTROL, pack_vector, unpack_vector
from wire.records import find_record, read_record


class ControlVariates:
    """The server's c (d,) of this round, the speakers' own c_i, and the sum of their changes."""

    def __init__(self, state: RecordDict, control: Tensor) -> None:
        self._state, self._control = state, control
        self._change = torch.zeros_like(control)

    @classmethod
    def of(cls, content: RecordDict, state: RecordDict) -> ControlVariates:
        """The c of a task's message, with the c_i in `state`. Raises `KeyError` if the message has no c."""
        return cls(state, unpack_vector(read_record(content, CONTROL, ArrayRecord)))

    def correction(self, speaker: int) -> Tensor:
        """c - c_i, which the speaker adds to every gradient."""
        return self._control - self._own(speaker)

    def learn(self, speaker: int, mean_step: Tensor) -> None:
        """c_i <- c_i - c + `mean_step`: the speaker's update over (steps x learning rate)."""
        moved = mean_step - self._control
        if bool(moved.isfinite().all()):
            self._state[_key(speaker)] = pack_vector(self._own(speaker) + moved)
            self._change += moved

    def forget(self, speaker: int) -> None:
        """Drop the c_i of a speaker who has left. The server's c keeps what it has of it."""
        self._state.pop(_key(speaker), None)

    def to_record(self) -> ArrayRecord:
        """The sum of the changes, for the reply."""
        return pack_vector(self._change)

    def _own(self, speaker: int) -> Tensor:
        kept = find_record(self._state, _key(speaker), ArrayRecord)
        return torch.zeros_like(self._control) if kept is None else unpack_vector(kept)


class ScaffoldExchange:
    """Trains speakers with their control variates (`client.training.algorithms.Exchange`)."""

    def __init__(
        self,
        process: SpeakerProcess,
        variates: ControlVariates,
        speakers: Sequence[str],
        learning_rate: float,
    ) -> None:
        self._process, self._variates, self._learning_rate = process, variates, learning_rate
        self._numbers = {name: number for number, name in enumerate(speakers)}

    def train(self, speaker_round: SpeakerRound, split: str) -> tuple[Tensor, Trained] | None:
        """Train one speaker with the correction c - c_i, and move c_i; None if the speaker counts as zero."""
        number = self._numbers[speaker_round.speaker]
        correction = self._variates.correction(number)
        trained = self._process.train(speaker_round, split, correction)
        if trained is not None:
            update, report = trained
            # Plain SGD's mean gradient: the update over its steps and learning rate.
            mean_step = update[: correction.numel()] / (report.steps * self._learning_rate)
            self._variates.learn(number, mean_step)
        return trained

    def to_records(self) -> dict[str, ArrayRecord]:
        """The sum of the speakers' changes."""
        return {CONTROL: self._variates.to_record()}


def _key(speaker: int) -> str:
    return f"control-{speaker}"
