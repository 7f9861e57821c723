"""A run that the tests of this folder share; each that changes it makes a copy."""

import functools

import pytest

from cli.report import run_facts
from privacy import plan
from tests.cli.report.run_folders import make_run


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The folder of a finished private run."""
    return make_run(tmp_path_factory.mktemp("private"))


@pytest.fixture(scope="session")
def known_epsilon():
    """The accountants' answers, each computed once: a page asks for the same ones every time."""
    computed = functools.cache(run_facts.epsilon)
    return lambda releases, delta, pld=True: computed(tuple(releases), delta, pld)


@pytest.fixture(autouse=True)
def _computed_once(known_epsilon, monkeypatch):
    for module in (run_facts, plan):
        monkeypatch.setattr(module, "epsilon", known_epsilon)
