"""The recording of a round's noise: for which sum, on which values, how much, and with which result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from audit.trace import Event, Noised, Queried, Query, Steps, Trace
from privacy import ClipBounds, PrivacyPlan, Quantiser, Release, SecureGaussian
from privacy.noise.independent import NoisedBlock, RoundNoise
from privacy.noise.secure import Integers, NoiseSource


class ReplayDiverged(Exception):
    """The replay draws noise where the recorded run drew none."""


class EventLog(Protocol):
    """The part of a `Recorder` that this module needs."""

    trace: Trace
    frozen: Trace | None
    round_number: int

    def note(self, event: Event) -> None:
        """Record an event."""
        ...


class RecordedNoise:
    """A `RoundNoise` whose queries and blocks are recorded.

    In a replay its source returns the values that the recorded run released.
    """

    def __init__(self, inner: RoundNoise, log: EventLog, on_disk: Callable[[], int]) -> None:
        self._inner, self._log, self._on_disk = inner, log, on_disk

    def accounting(self, plan: PrivacyPlan) -> Release | None:
        """The declaration of the noise inside."""
        return self._inner.accounting(plan)

    def noised_blocks(
        self,
        sums: Tensor,
        bounds: ClipBounds,
        quantiser: Quantiser,
        noise_multiplier: float,
        source: NoiseSource,
    ) -> Iterator[NoisedBlock]:
        """See `RoundNoise`."""
        number = self._log.round_number
        query = _query(number, sums, bounds, quantiser)
        self._log.trace.queries.append(query)
        self._log.note(
            Queried(
                round_number=number,
                bounds=bounds,
                quantiser=quantiser,
                noise_multiplier=noise_multiplier,
                size=len(query.steps),
                secure=isinstance(source, SecureGaussian),
                on_disk=self._on_disk(),
            )
        )
        watched = _Source(source, self._frozen(number))
        for begin, end, block in self._inner.noised_blocks(
            sums, bounds, quantiser, noise_multiplier, watched
        ):
            drawn, stds = watched.taken()
            query.released[begin:end] = block
            whole = drawn.size == end - begin and np.array_equal(block, query.steps[begin:end] + drawn)
            if whole:
                query.noise[begin:end] = drawn
            self._log.note(Noised(round_number=number, begin=begin, end=end, stds=stds, whole=whole))
            yield begin, end, block

    def _frozen(self, number: int) -> Steps | None:
        if self._log.frozen is None:
            return None
        query = self._log.frozen.query_of(number)
        if query is None:
            raise ReplayDiverged(f"round {number} had no release in the recorded run")
        return query.released


def _query(number: int, sums: Tensor, bounds: ClipBounds, quantiser: Quantiser) -> Query:
    steps = sums.long().numpy().copy()
    return Query(
        round_number=number,
        steps=steps,
        bounds=bounds,
        quantiser=quantiser,
        released=steps.copy(),
        noise=np.zeros_like(steps),
    )


class _Source:
    """A noise source whose calls are recorded. With `frozen` values it returns those, in order."""

    def __init__(self, inner: NoiseSource, frozen: Steps | None) -> None:
        self._inner, self._frozen, self._place = inner, frozen, 0
        self._drawn: list[Steps] = []
        self._stds: list[float] = []

    def add_rounded_(self, sums: Integers, std_steps: float) -> None:
        """See `NoiseSource`."""
        before = sums.copy()
        if not self._replayed(sums):
            self._inner.add_rounded_(sums, std_steps)
        self._drawn.append(sums - before)
        self._stds.append(std_steps)

    def add_and_round_(self, centres: Any, std_steps: float) -> None:
        """See `NoiseSource`. Correlated noise does not show what was drawn: no block is `whole`."""
        if not self._replayed(centres):
            self._inner.add_and_round_(centres, std_steps)
        self._stds.append(std_steps)

    def taken(self) -> tuple[Steps, tuple[float, ...]]:
        """The values drawn since the last call, and their standard deviations."""
        drawn = np.concatenate([np.empty(0, dtype=np.int64), *self._drawn])
        stds = tuple(dict.fromkeys(self._stds))
        self._drawn, self._stds = [], []
        return drawn, stds

    def _replayed(self, values: Any) -> bool:
        if self._frozen is None:
            return False
        place, self._place = self._place, self._place + values.size
        if self._place > self._frozen.size:
            raise ReplayDiverged(f"noise on {self._place} values, but {self._frozen.size} were recorded")
        values[:] = self._frozen[place : self._place]
        return True
