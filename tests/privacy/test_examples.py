"""The examples in docstrings are true, and every public class has one."""

import doctest
import inspect
import pkgutil
from importlib import import_module
from types import ModuleType

import pytest

import audit
import base
import optim
import privacy

ROOMS = (privacy, optim, base, audit)


def modules_of(room: ModuleType) -> list[str]:
    """The room itself and every module in it."""
    inside = pkgutil.walk_packages(room.__path__, f"{room.__name__}.")
    return [room.__name__, *(module.name for module in inside)]


@pytest.mark.parametrize("name", [name for room in ROOMS for name in modules_of(room)])
def test_examples_are_true(name: str) -> None:
    failed, _ = doctest.testmod(import_module(name))
    assert not failed


def public_classes(room: ModuleType) -> list[type]:
    """The classes that a room's modules define, without protocols, which have no objects of their own."""
    found = []
    for module in map(import_module, modules_of(room)):
        for name, one in vars(module).items():
            ours = inspect.isclass(one) and one.__module__ == module.__name__
            if ours and not name.startswith("_") and not getattr(one, "_is_protocol", False):
                found.append(one)
    return found


@pytest.mark.parametrize(
    "one", public_classes(privacy) + public_classes(optim), ids=lambda one: one.__qualname__
)
def test_every_public_class_has_an_example(one: type) -> None:
    assert ">>>" in (inspect.getdoc(one) or "") and one.__doc__, f"{one.__module__}.{one.__qualname__}"
