"""The health check of a container: it ends what is silent for long enough, and nothing before."""

import signal
import sys

import pytest

from cli.deploy import probes


@pytest.fixture
def check(monkeypatch, tmp_path):
    """One check that finds `fault`; returns its exit status and what was killed."""
    monkeypatch.setattr(probes, "FAILURES", tmp_path / "failures")
    monkeypatch.setattr(probes.time, "sleep", lambda seconds: None)
    killed = []
    monkeypatch.setattr(probes.os, "kill", lambda *what: killed.append(what))

    def once(*faults, options=("--end-after", "3")):
        answers = iter(faults)
        monkeypatch.setattr(probes, "health", lambda address: next(answers))
        monkeypatch.setattr(sys, "argv", ["probes", "127.0.0.1:1", *options])
        return probes.main(), list(killed)

    return once


def test_the_third_failure_in_a_row_ends_the_container(check):
    assert check("DEADLINE_EXCEEDED") == (1, [])
    assert check("DEADLINE_EXCEEDED") == (1, [])
    assert check("") == (0, [])
    assert check("UNAVAILABLE") == (1, [])
    assert check("UNAVAILABLE") == (1, [])
    assert check("UNAVAILABLE") == (1, [(-1, signal.SIGKILL)])
    assert check("UNAVAILABLE")[1] == [(-1, signal.SIGKILL)], "the count begins anew"


def test_one_good_answer_of_several_tries_is_enough(check):
    assert check("UNAVAILABLE", "UNAVAILABLE", "", options=("--tries", "3")) == (0, [])
    assert check("UNAVAILABLE", "UNAVAILABLE", "", options=("--tries", "2")) == (1, [])
    assert not probes.FAILURES.exists()
