"""How often a checkpoint is written, where nobody chose."""

import pytest

from cli.composing import default_config
from recipes import RunConfig
from server.storage.checkpoint_interval import AUTOMATIC, MOST_ROUNDS, WRITTEN_BYTES, rounds_between

PAPER = 4 * 4 * 255_800_864  # vector, two moments of Adam and the model beside them, in float32


def test_a_small_model_keeps_every_round():
    assert rounds_between(AUTOMATIC, 6_000_000, 2000) == 1
    assert rounds_between(AUTOMATIC, WRITTEN_BYTES // 2000, 2000) == 1


def test_a_run_writes_no_more_than_its_bytes_as_long_as_a_crash_costs_few_rounds():
    for size in (1, 10**6, 10**8, 3 * 10**8, 10**9, PAPER):
        for rounds in (1, 10, 100, 2000):
            every = rounds_between(AUTOMATIC, size, rounds)
            assert 1 <= every <= MOST_ROUNDS
            assert rounds // every * size <= WRITTEN_BYTES or every == MOST_ROUNDS


def test_the_papers_model_writes_a_twentieth_of_eight_terabytes():
    every = rounds_between(AUTOMATIC, PAPER, 2000)
    assert pytest.approx(8.2e12, rel=0.01) == PAPER * 2000
    assert PAPER * 2000 / every == pytest.approx(0.41e12, rel=0.01)


def test_what_a_recipe_says_is_done():
    assert rounds_between(7, PAPER, 2000) == 7


def test_the_rule_is_the_default():
    assert RunConfig.from_flat(default_config()).run.checkpoint_every == AUTOMATIC
