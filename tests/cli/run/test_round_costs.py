"""What a round takes, and what holds it up."""

import math

import pytest

from cli.composing import default_config
from cli.run.round_costs import DOWN, RELEASE, ROUND_SECONDS, SUM, TRAINING, UP, RoundCosts, ValueCosts
from recipes import RunConfig

COSTS = ValueCosts(clip=1e-9, pack=2e-9, add=4e-9, noise=8e-9, step=2e-9)


def made(**changed):
    usual = {
        "speakers": 1000.0,
        "nodes": 8.0,
        "processors": 2,
        "update": 0.1,
        "values": 10**6,
        "value": COSTS,
        "model_bytes": 4 * 10**6,
        "sum_bytes": 10**6,
    }
    return RoundCosts(**{**usual, **changed})


def test_training_holds_a_round_up_and_shrinks_with_the_processors():
    one, many = made(), made(processors=64)
    assert one.bottleneck == many.bottleneck == TRAINING
    assert one.parts[TRAINING] == pytest.approx(32 * many.parts[TRAINING])
    assert one.seconds == pytest.approx(one.parts[TRAINING] + 0.01 + ROUND_SECONDS)


def test_the_servers_thread_is_the_limit_of_many_nodes_on_many_processors():
    costs = made(nodes=1000.0, processors=1024)
    assert costs.bottleneck == SUM
    assert costs.parts[SUM] == pytest.approx(1000 * (0.004 + 0.004))


def test_the_network_carries_a_model_to_each_other_machine_and_sums_from_each_node_there():
    alone, four = made(network_bytes=1e6), made(network_bytes=1e6, machines=4, processors=64)
    assert (alone.parts[DOWN], alone.parts[UP]) == (0, 0)
    assert (four.parts[DOWN], four.parts[UP]) == pytest.approx((3 * 4.0, 0.75 * 8.0))
    assert four.bottleneck == DOWN
    assert (four.bytes_down, four.bytes_up) == (8 * 4e6, 8e6)


def test_noise_and_step_come_after_all_the_rest():
    costs = made(values=10**9, speakers=1.0, nodes=1.0, update=0.0)
    assert costs.bottleneck == RELEASE
    assert costs.seconds == pytest.approx(10 + max(costs.parts[TRAINING], costs.parts[SUM]) + ROUND_SECONDS)


@pytest.mark.parametrize(
    "changed", [{}, {"privacy.clip-rule": "global", "privacy.clip-groups": "*w1*=0.5,*w2*=0.5"}]
)
def test_costs_of_values_are_measured_whatever_the_clip_groups(changed):
    costs = ValueCosts.measured(RunConfig.from_flat({**default_config(), **changed}), 1000)
    assert all(0 <= cost < math.inf for cost in vars(costs).values())
    assert costs.noise > 0 and costs.add > 0
