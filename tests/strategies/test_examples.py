"""The examples in the docstrings of `strategies/`."""

import doctest
import pkgutil
from importlib import import_module

import pytest

import strategies

MODULES = [one.name for one in pkgutil.walk_packages(strategies.__path__, "strategies.")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_do_what_they_show(name, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert doctest.testmod(import_module(name)).failed == 0


def test_every_public_class_has_an_example():
    classes = {getattr(strategies, name) for name in strategies.__all__}
    ours = [one for one in classes if isinstance(one, type) and one.__module__.startswith("strategies.")]
    assert not [one.__name__ for one in ours if ">>>" not in (one.__doc__ or "") and not is_error(one)]


def is_error(one):
    return issubclass(one, Exception)
