"""The lineage of a model: the federated runs that its seed model came from, and all their releases.

A model that was trained on from another model is a function of all releases on the way, so its epsilon covers
all of them. One person may be in each of the populations. What is composed here holds for such a person, and
is an upper bound for everyone else.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

from privacy.accounting.epsilon import Release, merge
from privacy.ledger.entries import LedgerEntry, ledger_releases
from privacy.validate import open_probability

UNKNOWN_RUN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Ancestor:
    """A federated run whose model another run started from.

    Args:
        run: the run's id.
        people: the name of its population, as in its ledger.
        private: whether the run had a guarantee. A run without noise has no releases here, and no bound.
        synthetic: whether its speech was synthetic, of no real speakers.
        delta: the delta of the run's own guarantee.
        adjacency: the adjacency of the run's own guarantee.
        releases: the run's releases when the model was saved.

    Raises:
        ValueError: for a value of another type, or a delta out of range in a private run.

    Example:
        >>> first = Ancestor(run="first", people="ward-7", private=True, delta=1e-6,
        ...     releases=(Release(sampling_rate=0.01, noise_multiplier=1.0, count=20),))
        >>> lineage_from_json(lineage_to_json((first,))) == (first,)
        True
    """

    run: str
    people: str
    private: bool
    synthetic: bool = False
    delta: float = 0.0
    adjacency: str = ""
    releases: tuple[Release, ...] = ()

    def __post_init__(self) -> None:
        if not (isinstance(self.private, bool) and isinstance(self.synthetic, bool)):
            raise ValueError(
                f"Expected private and synthetic to be true or false, got {self.private!r} and "
                f"{self.synthetic!r}."
            )
        for name in ("run", "people", "adjacency"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"Expected {name} to be a string, got {getattr(self, name)!r}.")
        if self.private:
            open_probability(delta=self.delta)

    @property
    def unprotected(self) -> bool:
        """Whether the run trained on real speech without any guarantee."""
        return not (self.private or self.synthetic)


Lineage = tuple[Ancestor, ...]


def lineage_to_json(lineage: Lineage) -> str:
    """A lineage as JSON, for a file's metadata."""
    return json.dumps([asdict(one) for one in lineage], sort_keys=True, allow_nan=False)


def lineage_from_json(text: str) -> Lineage:
    """The inverse of `lineage_to_json`.

    Raises:
        ValueError: if the text is not a lineage.
    """
    known = {field.name for field in fields(Ancestor)}
    try:
        return tuple(
            Ancestor(
                **{name: value for name, value in one.items() if name in known and name != "releases"},
                releases=tuple(Release(**release) for release in one["releases"]),
            )
            for one in json.loads(text)
        )
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a lineage of a model ({error})") from error


def inherited_releases(lineage: Lineage) -> tuple[Release, ...]:
    """All releases of the private runs of a lineage, equal releases counted together."""
    return merge(release for one in lineage if one.private for release in one.releases)


def not_in_ledger(lineage: Lineage, entries: Sequence[LedgerEntry], dataset: str) -> tuple[Release, ...]:
    """The releases of a lineage that a ledger does not hold, so that none is counted twice.

    A run counts as held if the ledger has at least as many releases of it as the lineage.

    Args:
        lineage: the ancestors of a model.
        entries: the ledger's entries.
        dataset: the population's name in the ledger.
    """

    def held(one: Ancestor) -> bool:
        in_ledger = _count(ledger_releases(entries, dataset, one.run))
        return one.people == dataset and in_ledger >= _count(one.releases)

    return inherited_releases(tuple(one for one in lineage if not held(one)))


def _count(releases: Iterable[Release]) -> int:
    return sum(release.count for release in releases)
