"""How many mutated inputs are tried, from which seed, and what became of them.

The suite tries a few hundred, the same ones each time. `python -m tests.fuzz` tries them all, from a seed
that it prints; it tells the tests so by two environment variables.
"""

import os
import resource
from collections import Counter
from collections.abc import Callable
from typing import Any

import hypothesis

TIMES, SEED = "MURMUR_FUZZ", "MURMUR_FUZZ_SEED"
SHRINK = [hypothesis.Phase.shrink] if os.environ.get("MURMUR_FUZZ_SHRINK") else []
times = int(os.environ.get(TIMES, "0"))  # 0: the short version
seed = int(os.environ.get(SEED, "15"))

figures: dict[str, Counter[str]] = {}
"""What each target counted, for the summary at the end (`conftest`)."""


def tally(target: str) -> Counter[str]:
    """The counts of one target, begun afresh."""
    figures[target] = Counter()
    return figures[target]


def fuzz(*, short: int, long: int) -> Callable[[Any], Any]:
    """Decorate a `hypothesis.given` function with its number of examples and its seed."""

    def decorate(function: Any) -> Any:
        settings = hypothesis.settings(
            max_examples=long * times if times else short,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            print_blob=False,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate, *SHRINK],
        )
        return hypothesis.seed(seed)(settings(function))

    return decorate


def peak_megabytes() -> float:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
