"""Time for all drawn speakers: one who is slow must not cost the others of a node their round."""

import pytest
from scipy.stats import binom

from cli.composing import default_config
from recipes import ConfigError, RunConfig
from server.factory import make_plan
from server.planning import most_drawn, with_time_for_all


def config(**changes):
    return RunConfig.from_flat({**default_config(), **changes})


def test_a_node_without_time_for_all_its_drawn_speakers_is_refused_with_what_would_do():
    short = config(**{"training.cohort": 10.0, "training.round-deadline-seconds": 30.0})
    plan = make_plan(short, 20)
    with pytest.raises(ConfigError, match=r"processor-seconds = 5: up to 10 of the 10 speakers") as fault:
        with_time_for_all(short, plan, (10, 10), simulated=False)
    assert "60 or more" in str(fault.value) and "2 or less" in str(fault.value)
    for enough in ({"training.round-deadline-seconds": 60.0}, {"local.processor-seconds": 2.0}):
        longer = config(**{**short.to_flat(), **enough})
        assert with_time_for_all(longer, plan, (10, 10), simulated=False) == longer


def test_a_simulation_waits_as_long_as_all_may_take():
    short = config(**{"training.cohort": 10.0, "training.round-deadline-seconds": 30.0})
    waits = with_time_for_all(short, make_plan(short, 20), (10, 10), simulated=True)
    assert waits.training.round_deadline_seconds == 110.0
    long = config(**{"training.cohort": 10.0})
    assert with_time_for_all(long, make_plan(long, 20), (10, 10), simulated=True) == long


def test_a_run_without_privacy_may_have_any_deadline():
    short = config(**{"privacy.noise-multiplier": 0.0, "training.round-deadline-seconds": 1.0})
    assert with_time_for_all(short, make_plan(short, 96), (96,), simulated=False) == short


def test_how_many_are_drawn_is_known_but_for_a_probability():
    plan = make_plan(config(**{"training.cohort": 300.0}), 100_000)
    most = most_drawn(plan, 50_000)
    assert 150 < most < 260
    rarely = 1e-12 / plan.rounds
    assert binom.sf(most, 50_000, 0.003) <= rarely < binom.sf(most - 1, 50_000, 0.003)
    every = most_drawn(plan, 50_000, nodes=1000)
    assert binom.sf(every, 50_000, 0.003) * plan.rounds * 1000 <= 1e-12 and every > most
    capped = make_plan(config(**{"training.cohort": 300.0, "privacy.cohort-cap": 320}), 100_000)
    assert most_drawn(capped, 100_000) == 320
    banded = make_plan(config(**{"training.cohort": 10.0, "privacy.bands": 4}), 100)
    assert most_drawn(banded, 100) <= 25
