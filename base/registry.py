"""Named extensions of one kind: ours, and those that installed packages bring.

A registry knows names without importing what they name, so that a recipe is checked before torch is loaded.
Ours are written in `base.registries`; another package adds one by a Python entry point in the registry's
group::

    [project.entry-points."murmuration.clip_rules"]
    by-depth = "my_package.clipping:by_depth"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

Found = TypeVar("Found")


class UnknownName(ValueError):
    """No extension has this name; the message lists those that there are."""


class Registry(Mapping[str, Any]):
    """Extensions by name. An item is imported when it is asked for, and not before.

    Args:
        kind: What messages call one of them, such as "clip rule".
        group: The entry-point group of other packages.
        ours: Name -> "module:attribute" of those that this project brings.

    Example:
        >>> shapes = Registry("shape", "murmuration.shapes", {"dict": "builtins:dict"})
        >>> list(shapes), shapes["dict"]
        (['dict'], <class 'dict'>)
    """

    def __init__(self, kind: str, group: str, ours: Mapping[str, str]) -> None:
        self.kind, self.group = kind, group
        self._ours = dict(ours)
        self._added: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """The extension itself.

        Raises:
            UnknownName: If there is none of this name.
        """
        self.require(name)
        if name in self._added:
            return self._added[name]
        if name in self._ours:
            module, _, attribute = self._ours[name].partition(":")
            return getattr(import_module(module), attribute)
        return self._installed[name].load()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._ours, *self._added, *self._installed}))

    def __len__(self) -> int:
        return len({*self._ours, *self._added, *self._installed})

    def __contains__(self, name: object) -> bool:
        return name in self._ours or name in self._added or name in self._installed

    def require(self, name: str) -> str:
        """`name`, if there is such an extension.

        Raises:
            UnknownName: If there is none; the message lists all names.
        """
        if name not in self:
            raise UnknownName(f"unknown {self.kind} {name!r}; known are {', '.join(map(repr, self))}")
        return name

    def add(self, name: str) -> Callable[[Found], Found]:
        """Register what is decorated, in this process alone; other packages use an entry point.

        Raises:
            ValueError: If the name is taken.
        """
        if name in self:
            raise ValueError(f"{self.kind} {name!r} is registered already")

        def register(found: Found) -> Found:
            self._added[name] = found
            return found

        return register

    def remove(self, name: str) -> None:
        """Forget what `add` registered."""
        del self._added[name]

    @cached_property
    def _installed(self) -> dict[str, EntryPoint]:
        """Those of installed packages.

        Raises:
            ValueError: If a package takes a name that we, or another package, have.
        """
        found: dict[str, EntryPoint] = {}
        for point in entry_points(group=self.group):
            owner = point.dist.name if point.dist else "a package"
            if point.name in self._ours or point.name in found:
                raise ValueError(f"{owner} brings a {self.kind} {point.name!r}, and there is one already")
            found[point.name] = point
        return found
