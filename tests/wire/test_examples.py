"""The examples in the docstrings of `wire/`."""

import doctest
import pkgutil
from importlib import import_module

import pytest

import wire

MODULES = [one.name for one in pkgutil.walk_packages(wire.__path__, "wire.")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_do_what_they_show(name, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert doctest.testmod(import_module(name)).failed == 0
