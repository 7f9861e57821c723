"""What a server says of a run's privacy to the nodes: what their owners' limits are held against.

A node cannot see the noise, which is added after its answer. What it can do is to hold the server to its
word: a run whose plan is beyond the node's limits is refused before anything is trained, and the node keeps
what was said (`client.policy.training_counts`).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

from flwr.app import ConfigRecord, RecordDict

from privacy import PrivacyPlan
from wire.records import find_record

RECORD = "plan"


@dataclass(frozen=True, kw_only=True)
class DeclaredPlan:
    """A plan: (epsilon, delta) after all `rounds`, zeroing out one of `population` speakers, with noise of
    `noise_multiplier` clip bounds; infinite and 0 for a run without noise."""

    population: int
    cohort: float
    rounds: int
    noise_multiplier: float
    epsilon: float
    delta: float

    @classmethod
    def of(cls, plan: PrivacyPlan) -> DeclaredPlan:
        """What `plan` promises for all its rounds."""
        private = plan.is_private
        return cls(
            population=plan.population,
            cohort=plan.cohort,
            rounds=plan.rounds,
            noise_multiplier=plan.noise_multiplier if private else 0.0,
            epsilon=plan.epsilon().value if private else math.inf,
            delta=plan.delta,
        )

    def to_record(self) -> ConfigRecord:
        """As it travels."""
        return ConfigRecord(asdict(self))

    @classmethod
    def in_content(cls, content: RecordDict) -> DeclaredPlan | None:
        """What a message declares, if anything. Raises `ValueError` if a number is missing or is none."""
        record = find_record(content, RECORD, ConfigRecord)
        if record is None:
            return None
        try:
            numbers = {field.name: record[field.name] for field in fields(cls)}
            whole = {name: int(numbers.pop(name)) for name in ("population", "rounds")}
            declared = cls(**whole, **{name: float(given) for name, given in numbers.items()})  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError, OverflowError):
            raise ValueError("the server's plan cannot be read") from None
        if not declared._can_be:
            raise ValueError(f"the server's plan cannot be: {declared}")
        return declared

    @property
    def _can_be(self) -> bool:
        counts = self.population >= 1 and self.rounds >= 1 and 0 < self.cohort < math.inf
        return counts and 0 <= self.noise_multiplier < math.inf and self.epsilon >= 0 and 0 <= self.delta < 1
