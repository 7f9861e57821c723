"""The recorder: it is between a `DPFedOpt` and its primitives, and records every request to them.

With a `frozen` trace it replays: the same speakers are drawn, and every noise source returns the value that
the first run released, whatever the sum is now. It changes nothing else: strategy, ledger, clip and nodes run
as always.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor

import privacy.sampling
import strategies.dp_fed_opt
from audit.recorded_noise import RecordedNoise
from audit.trace import Drawn, Event, Logged, Spent, Stepped, Trace
from privacy import Ledger, LedgerEntry, PrivacyPlan, Release, read_ledger
from strategies import DPFedOpt


class Recorder:
    """Records one run into `trace`. With `frozen`, it returns the noised outputs of that run.

    The code that runs the rounds sets `round_number`, and records the events of the messages.
    """

    def __init__(self, frozen: Trace | None = None) -> None:
        self.trace = Trace()
        self.frozen = frozen
        self.round_number = 0

    def watch(self, strategy: DPFedOpt) -> None:
        """Record the strategy's noise, optimiser and ledger from now on."""
        ledger = strategy.ledger
        strategy.noise = RecordedNoise(strategy.noise, self, on_disk=lambda: len(read_ledger(ledger.path)))
        strategy.optimiser = _Optimiser(strategy.optimiser, self)
        strategy.ledger = _Ledger(ledger, self)  # type: ignore[assignment]

    def note(self, event: Event) -> None:
        """Record an event."""
        self.trace.events.append(event)

    @contextmanager
    def drawing(self, speakers: Sequence[int]) -> Iterator[None]:
        """Let the strategy draw exactly `speakers` (ascending numbers), after a real call of its sampler.

        The recorder records the coins that the sampler requests from `poisson_sample`, and ignores the
        result.
        """
        coins: list[tuple[int, float]] = []

        def counted(flip: Callable[[int, float], Any]) -> Callable[[int, float], Any]:
            def poisson_sample(population: int, rate: float) -> Any:
                coins.append((population, rate))
                return flip(population, rate)

            return poisson_sample

        def frozen(sampler: Callable[[PrivacyPlan, int], Any]) -> Callable[[PrivacyPlan, int], Any]:
            def draw_cohort(plan: PrivacyPlan, step: int) -> Any:
                coins.clear()
                sampler(plan, step)
                self._note_draw(plan, step, tuple(coins))
                return np.array(speakers, dtype=np.int64)

            return draw_cohort

        with (
            _wrapped(privacy.sampling, "poisson_sample", counted),
            _wrapped(strategies.dp_fed_opt, "draw_cohort", frozen),
        ):
            yield

    def _note_draw(self, plan: PrivacyPlan, step: int, coins: tuple[tuple[int, float], ...]) -> None:
        self.note(
            Drawn(
                round_number=self.round_number,
                step=step,
                bands=plan.bands,
                cohort_cap=plan.cohort_cap,
                coins=coins,
            )
        )

    @contextmanager
    def server_log(self) -> Iterator[None]:
        """Record every line that is logged inside the block."""
        handler = _Lines(self)
        logging.getLogger().addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)


@contextmanager
def _wrapped(owner: Any, name: str, wrapper: Callable[[Any], Any]) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, wrapper(before))
    try:
        yield
    finally:
        setattr(owner, name, before)


def digest(values: Any) -> str:
    """SHA-256 (hex) of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


class _Lines(logging.Handler):
    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def emit(self, record: logging.LogRecord) -> None:
        """Record the line."""
        number = self._recorder.round_number
        self._recorder.note(Logged(round_number=number, logger=record.name, line=record.getMessage()))


class _Ledger:
    """A ledger whose `spend` is recorded; all else is passed on to the ledger."""

    def __init__(self, inner: Ledger, recorder: Recorder) -> None:
        self._inner, self._recorder = inner, recorder

    def spend(self, release: Release, **names: Any) -> LedgerEntry:
        """Spend, then record it: an entry that could not be written does not count."""
        entry = self._inner.spend(release, **names)
        self._recorder.note(
            Spent(
                round_number=self._recorder.round_number,
                noise_multiplier=release.noise_multiplier,
                cohort_cap=release.cohort_cap,
                count=release.count,
                names=tuple(sorted(names.items())),
                rate=release.sampling_rate,
            )
        )
        return entry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Optimiser:
    """An optimiser whose steps are recorded."""

    def __init__(self, inner: Any, recorder: Recorder) -> None:
        self._inner, self._recorder = inner, recorder

    def step_(self, vector: Tensor, pseudo_gradient: Tensor, learning_rate: float) -> None:
        """Make a step, and record the optimiser's input and the model after it."""
        given = pseudo_gradient.double().numpy().copy()
        self._inner.step_(vector, pseudo_gradient, learning_rate)
        self._recorder.note(
            Stepped(
                round_number=self._recorder.round_number,
                given=digest(given),
                model=digest(vector.numpy()),
                rate=learning_rate,
                unit=self._unit(given),
            )
        )

    def _unit(self, given: Any) -> float:
        query = self._recorder.trace.query_of(self._recorder.round_number)
        if query is None or not query.released[: len(given)].any():
            return math.nan
        released = query.released[: len(given)].astype(np.float64)
        unit = float(given @ released / (released @ released))
        off = float(np.abs(given - unit * released).max())
        return unit if off <= 1e-6 * float(np.abs(given).max()) else math.nan

    def state_dict(self) -> dict[str, Tensor]:
        """The state of the optimiser inside."""
        state: dict[str, Tensor] = self._inner.state_dict()
        return state

    def load_state_dict(self, state: Any) -> None:
        """Load the state of the optimiser inside."""
        self._inner.load_state_dict(state)
