"""Named extensions of one kind: ours, and those that installed packages bring.

A registry knows names without importing the extensions, so a recipe can be checked before torch is loaded.
Ours are in `base.registries`. Another package adds one by a Python entry point in the registry's group::

    [project.entry-points."murmuration.clip_rules"]
    by-depth = "my_package.clipping:by_depth"

An extension is code of this process, and can do what such code can do. What it *returns* is checked by the
code that asks for it, each time (`ClipBounds.of`, `relative_stds`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

Found = TypeVar("Found")

OURS = "murmuration"
"""The owner of our own extensions in messages."""


class UnknownName(ValueError):
    """No extension has this name; the message lists all names."""


class Registry(Mapping[str, Any]):
    """Extensions by name. An extension is imported when it is asked for, not before.

    Guarantee: no two packages have the same name. A name of ours always means ours, and is found without a
    look at other packages. A package that brings a name that is taken is refused, with both owners, as soon
    as a name of another package is asked for or the names are listed.

    Args:
        kind: what messages call one extension, such as "clip rule".
        group: the entry-point group for other packages.
        ours: name -> "module:attribute" of the extensions of this project.

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
            UnknownName: if no extension has this name.
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

    def is_ours(self, name: str) -> bool:
        """Whether the extension of this name is one of this project."""
        return name in self._ours

    def require(self, name: str) -> str:
        """`name`, if there is such an extension.

        Raises:
            UnknownName: if there is none; the message lists all names.
        """
        if name not in self:
            raise UnknownName(f"unknown {self.kind} {name!r}; known are {', '.join(map(repr, self))}")
        return name

    def add(self, name: str) -> Callable[[Found], Found]:
        """A decorator that registers an extension in this process only. Other packages use an entry point.

        Raises:
            ValueError: if the name is taken.
        """
        if name in self:
            raise ValueError(f"{self.kind} {name!r} is registered already")

        def register(found: Found) -> Found:
            self._added[name] = found
            return found

        return register

    def remove(self, name: str) -> None:
        """Remove an extension that `add` registered."""
        del self._added[name]

    @cached_property
    def _installed(self) -> dict[str, EntryPoint]:
        """The entry points of installed packages, by name.

        Raises:
            ValueError: if a package brings a name of ours or of another package.
        """
        found: dict[str, EntryPoint] = {}
        owners = dict.fromkeys(self._ours, OURS)
        for point in entry_points(group=self.group):
            owner = point.dist.name if point.dist else "a package without a name"
            if point.name in owners:
                raise ValueError(
                    f"{owner} and {owners[point.name]} both bring a {self.kind} {point.name!r} (entry-point "
                    f"group {self.group}): uninstall one of them, or rename its entry point"
                )
            found[point.name], owners[point.name] = point, owner
        return found
