"""Clip groups: which tensors of a model share which part of the clip bound, by patterns on their names.

A recipe writes `pattern=share` pairs, "*encoder.*=0.05,*=0.95". A share is a share of C^2. So the group g has
the bound C_g = C sqrt(share_g), and because the shares sum to 1 all groups together have the bound C.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

_TOLERANCE = 1e-5  # of the sum of the shares, which may be rounded to six digits
_EXAMPLE = "for example '*encoder.*=0.05,*=0.95'"


@dataclass(frozen=True, kw_only=True)
class ClipGroups:
    """A division of a model's tensors into groups, each with its share of C^2.

    Guarantee:
        Names and shares come from the recipe alone, never from data. `members` puts every tensor into exactly
        one group, or refuses.

    Args:
        patterns: shell patterns on the names of tensors, as in `model.trainable`. The first one that matches
            a tensor decides. By default all tensors are one group.
        shares: one share of C^2 per pattern, above 0; they sum to 1.

    Raises:
        ValueError: for an empty pattern, a share that is not above 0, or shares that do not sum to 1.

    Example:
        >>> groups = ClipGroups.read("encoder.*=0.05, *=0.95")
        >>> groups.members(["head.weight", "encoder.weight", "head.bias"])
        (('encoder.weight',), ('head.weight', 'head.bias'))
        >>> groups.shares, str(groups)
        ((0.05, 0.95), 'encoder.*=0.05,*=0.95')
    """

    patterns: tuple[str, ...] = ("*",)
    shares: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if len(self.patterns) != len(self.shares):
            raise ValueError(f"{len(self.patterns)} patterns and {len(self.shares)} shares: give one to each")
        for pattern, share in zip(self.patterns, self.shares, strict=True):
            if not pattern:
                raise ValueError(f"the pattern of the share {share!r} is empty: name tensors, {_EXAMPLE}")
            if not (math.isfinite(share) and share > 0):
                raise ValueError(f"the share of {pattern!r} is {share!r}: it must be above 0, and at most 1")
        if abs((total := math.fsum(self.shares)) - 1) > _TOLERANCE:
            raise ValueError(
                f"the shares sum to {total:.9g}: they are shares of C^2, so change them until they sum to 1"
            )

    @classmethod
    def read(cls, text: str) -> ClipGroups:
        """The groups that a recipe writes as `pattern=share` pairs, separated by commas; "" is one group.

        Raises:
            ValueError: as for the class, and for a part that is no such pair.
        """
        if not text:
            return cls()
        pairs = [_pair(part.strip()) for part in text.split(",")]
        return cls(patterns=tuple(pattern for pattern, _ in pairs), shares=tuple(share for _, share in pairs))

    def __str__(self) -> str:
        """The groups as a recipe writes them."""
        return ",".join(
            f"{pattern}={share!r}" for pattern, share in zip(self.patterns, self.shares, strict=True)
        )

    def __len__(self) -> int:
        """The number of groups."""
        return len(self.patterns)

    def members(self, names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """The names of each group's tensors, in the given order.

        Args:
            names: the names of the trained tensors, each once.

        Raises:
            ValueError: for a tensor that no pattern matches, or a group without tensors.
        """
        groups: tuple[list[str], ...] = tuple([] for _ in self.patterns)
        for name in names:
            groups[self._group_of(name)].append(name)
        for pattern, group in zip(self.patterns, groups, strict=True):
            if not group:
                raise ValueError(_without_tensors(pattern, names))
        return tuple(map(tuple, groups))

    def ordered(self, names: Sequence[str]) -> tuple[str, ...]:
        """The same names, group by group: the order in which each group is one part of the vector."""
        return tuple(name for group in self.members(names) for name in group)

    def _group_of(self, name: str) -> int:
        for index, pattern in enumerate(self.patterns):
            if fnmatchcase(name, pattern):
                return index
        raise ValueError(
            f"no pattern matches the trained tensor {name!r}: add one that does, or a last '*=share' for "
            "all that is left"
        )


ONE_GROUP = ClipGroups()
"""All tensors together: no clip groups."""


def _pair(part: str) -> tuple[str, float]:
    pattern, equals, share = part.rpartition("=")
    try:
        return pattern.strip(), float(share if equals else "")
    except ValueError:
        raise ValueError(f"{part!r} is no pair of pattern and share: write both, {_EXAMPLE}") from None


def _without_tensors(pattern: str, names: Sequence[str]) -> str:
    if any(fnmatchcase(name, pattern) for name in names):
        return f"all tensors that {pattern!r} matches are in groups before it: put it first, or leave it out"
    return (
        f"the pattern {pattern!r} matches no trained tensor: correct it or leave it out; the trained tensors "
        f"are {', '.join(names)}"
    )
