"""The privacy plan that a server declares to the nodes, for the limits of their owners.

A node cannot check the noise, which is added after its answer. But it can refuse a run with a declared plan
beyond its limits, before any training, and keep a record of the declared plan
(`client.policy.training_counts`).
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
    """A declared plan.

    (epsilon, delta) holds after all `rounds`, for zeroing out one of `population` speakers. The noise has a
    standard deviation of `noise_multiplier` clip bounds. A run without noise declares an infinite epsilon and
    a noise multiplier of 0.

    Example:
        >>> plan = PrivacyPlan(population=100, cohort=10.0, rounds=5, noise_multiplier=0.0, delta=1e-3)
        >>> DeclaredPlan.of(plan).epsilon
        inf
    """

    population: int
    cohort: float
    rounds: int
    noise_multiplier: float
    epsilon: float
    delta: float

    @classmethod
    def of(cls, plan: PrivacyPlan) -> DeclaredPlan:
        """The declaration of `plan` for all its rounds."""
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
        """The record in a message."""
        return ConfigRecord(asdict(self))

    @classmethod
    def in_content(cls, content: RecordDict) -> DeclaredPlan | None:
        """Read the declared plan of a message; None if it declares none.

        Raises:
            ValueError: If a number is missing, is not a number, or is out of range.
        """
        record = find_record(content, RECORD, ConfigRecord)
        if record is None:
            return None
        try:
            numbers = {field.name: record[field.name] for field in fields(cls)}
            whole = {name: int(numbers.pop(name)) for name in ("population", "rounds")}
            declared = cls(**whole, **{name: float(given) for name, given in numbers.items()})  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError, OverflowError):
            raise ValueError("the server's plan cannot be read") from None
        if not declared._in_range:
            raise ValueError(f"the server's plan cannot be right: {declared}")
        return declared

    @property
    def _in_range(self) -> bool:
        counts = self.population >= 1 and self.rounds >= 1 and 0 < self.cohort < math.inf
        return counts and 0 <= self.noise_multiplier < math.inf and self.epsilon >= 0 and 0 <= self.delta < 1
