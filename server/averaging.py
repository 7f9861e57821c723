"""The average of a run's models, where the recipe wants one: its state, and its place in the model.

Guarantee: the average is made from released models only, so no epsilon changes (docs/privacy.md). Training
never sees it: rounds start from the newest iterate, and are the same with and without an average.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor

from optim.averaging import Averaging, average_, swap_
from recipes.sections import ServerSection
from server.errors import ResumeRefused

AVERAGE = "average"  # its name in a checkpoint


def make_averaging(section: ServerSection) -> Averaging:
    """Return the rule of a recipe."""
    return Averaging(rule=section.averaging, decay=section.averaging_decay, share=section.averaging_share)


def average_in_words(section: ServerSection, rounds: int, rounds_done: int | None = None) -> str:
    """Return what the evaluated and kept model is an average of; "" if it is the newest model.

    Args:
        section: The section `server` of the recipe.
        rounds: The planned number of rounds.
        rounds_done: The number of rounds that were made; None for all.
    """
    rule, last = make_averaging(section), rounds if rounds_done is None else rounds_done
    if rule.rule == "ema":
        return f"exponential moving average of the models of rounds 1 to {last}, decay {rule.decay:g}"
    first = rule.first_round(rounds)
    return f"mean of the models of rounds {first} to {last}" if rule.rule == "tail" and first < last else ""


class ModelAverage:
    """The average of the iterates in a strategy's vector. With the rule 'none' it holds no memory.

    Args:
        averaging: The rule.
        vector: The strategy's vector (d,), which holds the seed model now.
        rounds: The planned number of rounds.
    """

    def __init__(self, averaging: Averaging, vector: Tensor, rounds: int) -> None:
        self._averaging, self._vector, self._rounds = averaging, vector, rounds
        self._average = vector.clone() if averaging.averages else None

    def add(self, round_number: int) -> None:
        """Take the iterate of a round, which is in the vector, into the average."""
        if self._average is not None:
            average_(self._average, self._vector, self._averaging.newest_weight(round_number, self._rounds))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Exchange the vector and the average for the block: the model that shares the vector is the average.

        Nothing may train or send the vector in the block.
        """
        if self._average is None:
            yield
            return
        swap_(self._vector, self._average)
        try:
            yield
        finally:
            swap_(self._vector, self._average)

    def state_dict(self) -> dict[str, Tensor]:
        """The average for a checkpoint (not a copy); empty without one."""
        return {} if self._average is None else {AVERAGE: self._average}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from the tensors of a checkpoint.

        Raises:
            ResumeRefused: If they lack the average.
        """
        if self._average is None:
            return
        if AVERAGE not in state:
            raise ResumeRefused(
                f"server.averaging = {self._averaging.rule!r}: the checkpoint holds no average; resume with "
                "the recipe that the run was started with"
            )
        self._average.copy_(state[AVERAGE])
