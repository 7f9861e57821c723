import itertools

import pytest
import torch

from base.registries import SCHEDULES
from optim.schedules import ScheduleSettings, constant, make_schedule


def factors(name, rounds, **settings):
    made = make_schedule(name, ScheduleSettings(**settings))
    return {number: made(number, rounds) for number in range(1, rounds + 1)}


def test_half_cosine_is_flat_then_falls_to_a_twentieth():
    made = list(factors("half-cosine", 100).values())
    assert made[:51] == [1.0] * 51
    assert all(later < earlier for earlier, later in itertools.pairwise(made[50:]))
    assert made[75] == pytest.approx((1 + 0.05) / 2)
    assert made[-1] == pytest.approx(0.05, abs=0.01)


def test_constant_is_one():
    assert set(factors("constant", 7).values()) == {1.0}
    assert constant(3, 7) == 1.0


def test_exponential_is_the_papers():
    """Constant to round 750, then x 0.6 per 750 rounds (paper, DP runs)."""
    made = factors("exponential", 2300, decay_after=750, decay_every=750, decay_factor=0.6)
    assert set(itertools.islice(made.values(), 751)) == {1.0}
    assert made[751 + 375] == pytest.approx(0.6**0.5)
    assert made[1501] == pytest.approx(0.6)
    assert made[2251] == pytest.approx(0.36)


def test_step_is_that_of_torch():
    made = factors("step", 12, decay_after=4, decay_every=3, decay_factor=0.5)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones=[4, 7, 10], gamma=0.5)
    for factor in made.values():
        assert factor == theirs.get_last_lr()[0]
        optimiser.step()
        theirs.step()


def test_cosine_is_that_of_torch():
    made = factors("cosine", 20, final_factor=0.1)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=20, eta_min=0.1)
    for factor in made.values():
        assert factor == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimiser.step()
        theirs.step()
    assert make_schedule("cosine")(99, 20) == pytest.approx(0.05)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_warm_up_is_a_ramp_before_any_schedule(name):
    settings = {"decay_after": 2, "decay_every": 2, "decay_factor": 0.5}
    cold, warmed = factors(name, 10, **settings), factors(name, 10, **settings, warm_up_rounds=4)
    ramp = {1: 0.25, 2: 0.5, 3: 0.75}
    assert all(warmed[number] == pytest.approx(cold[number] * ramp.get(number, 1.0)) for number in cold)


@pytest.mark.parametrize(
    "fault",
    [
        {"decay_every": 0},
        {"decay_factor": 0.0},
        {"decay_factor": 1.5},
        {"final_factor": -0.1},
        {"warm_up_rounds": -1},
    ],
)
def test_an_impossible_setting_is_refused_by_name(fault):
    with pytest.raises(ValueError, match=next(iter(fault))):
        ScheduleSettings(**fault)


def test_an_unknown_schedule_is_refused_with_the_known_ones_and_a_name_is_taken_once():
    with pytest.raises(ValueError, match="unknown schedule 'cosinus'; known are 'constant', 'cosine'"):
        make_schedule("cosinus")
    with pytest.raises(ValueError, match="registered already"):
        SCHEDULES.add("step")
