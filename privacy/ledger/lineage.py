"""What a model inherits: the federated runs that its seed model came from, and all that they released.

A model that goes on from another is a function of everything that was released on the way, so that its
epsilon covers all of it. A person may be in each of the populations; what is composed here is for such a
person, and an upper bound for everybody else.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

from privacy.accounting.epsilon import Release, merge
from privacy.ledger.ledger import LedgerEntry, ledger_releases
from privacy.validate import open_probability

UNKNOWN_RUN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Ancestor:
    """A federated run from whose model another one went on.

    Args:
        run: its id.
        people: the name of its people's ledger.
        private: whether it promised anything; a run without noise has no releases here, and no bound.
        synthetic: whether its speakers were nobody's voices.
        delta, adjacency: of its own promise.
        releases: what it had released when the model was saved.
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
        """Whether what it learnt of people is covered by no epsilon at all."""
        return not (self.private or self.synthetic)


Lineage = tuple[Ancestor, ...]


def lineage_to_json(lineage: Lineage) -> str:
    """As it stands in a file's metadata."""
    return json.dumps([asdict(one) for one in lineage], sort_keys=True, allow_nan=False)


def lineage_from_json(text: str) -> Lineage:
    """The inverse of `lineage_to_json`.

    Raises:
        ValueError: if it is no lineage.
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
        raise ValueError(f"no lineage of a model ({error})") from error


def inherited_releases(lineage: Lineage) -> tuple[Release, ...]:
    """All that the private runs of a lineage released, together."""
    return merge(release for one in lineage if one.private for release in one.releases)


def not_in_ledger(lineage: Lineage, entries: Sequence[LedgerEntry], people: str) -> tuple[Release, ...]:
    """What a lineage released that this ledger of `people` does not hold: nothing is counted twice.

    A run counts as held if the ledger has at least as many releases of it as the lineage.
    """

    def held(one: Ancestor) -> bool:
        there = _count(ledger_releases(entries, people, one.run))
        return one.people == people and there >= _count(one.releases)

    return inherited_releases(tuple(one for one in lineage if not held(one)))


def _count(releases: Iterable[Release]) -> int:
    return sum(release.count for release in releases)
