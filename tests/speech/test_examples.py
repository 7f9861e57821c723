"""The examples in the docstrings of speech/ and murmuration_data/ run, and every public class has one."""

import doctest
import inspect
import pkgutil
from importlib import import_module
from types import ModuleType

import pytest

import murmuration_data
import speech


def modules() -> list[str]:
    found = [one.name for one in pkgutil.walk_packages(speech.__path__, "speech.") if not one.ispkg]
    return [murmuration_data.__name__, *found]


@pytest.mark.parametrize("name", modules())
def test_the_examples_of_a_module_are_right(name: str) -> None:
    found = doctest.testmod(import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0


@pytest.mark.parametrize("name", modules())
def test_every_public_class_has_an_example(name: str) -> None:
    assert not [
        one.__name__ for one in public_classes(import_module(name)) if ">>>" not in (one.__doc__ or "")
    ]


def public_classes(module: ModuleType) -> list[type]:
    """Classes of this module, but for those that only name an error or a layer's part."""
    found = (one for name, one in vars(module).items() if inspect.isclass(one) and not name.startswith("_"))
    own = [one for one in found if one.__module__ == module.__name__]
    return [one for one in own if not issubclass(one, Exception)]
