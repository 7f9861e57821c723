"""A node's part of SCAFFOLD: the control variates c_i of its speakers, in Flower's state of the run.

They grow with speakers x model and travel with the state, so this is for small federations without
privacy; `recipes/run_config.py` refuses it elsewhere.
"""

from __future__ import annotations

import torch
from flwr.app import ArrayRecord, RecordDict
from torch import Tensor

from wire.messages import pack_vector, unpack_vector
from wire.records import find_record


class ControlVariates:
    """The server's c (d,) of this round, and what the trained speakers make of their own."""

    def __init__(self, state: RecordDict, control: Tensor) -> None:
        self._state, self._control = state, control
        self._change = torch.zeros_like(control)

    def correction(self, speaker: int) -> Tensor:
        """c - c_i, which the speaker adds to every gradient."""
        return self._control - self._own(speaker)

    def learn(self, speaker: int, mean_step: Tensor) -> None:
        """c_i <- c_i - c + `mean_step`, the round's update over (steps x learning rate)."""
        moved = mean_step - self._control
        if bool(moved.isfinite().all()):
            self._state[_key(speaker)] = pack_vector(self._own(speaker) + moved)
            self._change += moved

    def forget(self, speaker: int) -> None:
        """Drop the c_i of a speaker who has left; the server's c keeps what it holds of it."""
        self._state.pop(_key(speaker), None)

    def to_record(self) -> ArrayRecord:
        """The sum of the changes, for the reply."""
        return pack_vector(self._change)

    def _own(self, speaker: int) -> Tensor:
        kept = find_record(self._state, _key(speaker), ArrayRecord)
        return torch.zeros_like(self._control) if kept is None else unpack_vector(kept)


def _key(speaker: int) -> str:
    return f"control-{speaker}"
