"""SCAFFOLD on two speakers with quadratic losses, where the right answer is known in closed form."""

import pytest
import torch
from flwr.app import RecordDict

from client.training.control_variates import ControlVariates
from optim import SGD
from strategies import DPFedOpt, ServerStep, StreamingGrid
from strategies.scaffold import Scaffold
from tests.strategies.federation import LAYOUT, answer_to, make_parts
from tests.strategies.flower import FakeGrid
from wire.messages import CONTROL, Task, unpack_vector

# Of each node curvature and minimum of loss a/2 |w - b|^2; small enough that nothing is clipped.
PEOPLE = {1: (1.0, 0.03), 2: (4.0, -0.01)}
OPTIMUM = (1.0 * 0.03 + 4.0 * -0.01) / 5.0
RATE, STEPS = 0.1, 10


def person(curvature, minimum, state):
    """A node with one speaker that takes many local steps, corrected if the server sends a control."""

    def node(message):
        task, vector = Task.from_message(message)
        record = message.content.array_records.get(CONTROL)
        controls = None if record is None else ControlVariates(state, unpack_vector(record))
        moved = vector.clone()
        for _ in range(STEPS):
            correction = controls.correction(0) if controls else 0.0
            moved -= RATE * (curvature * (moved - minimum) + correction)
        content = answer_to(task, lambda number: vector - moved).to_record()
        if controls:
            controls.learn(0, (vector - moved) / (STEPS * RATE))
            content[CONTROL] = controls.to_record()
        return content

    return node


def averaging():
    return ServerStep(optimiser=SGD(momentum=0.0), learning_rate=1.0)


def train(tmp_path, cls, rounds=60):
    strategy = cls(**make_parts(tmp_path, {1: 1, 2: 1}, z=0.0, rounds=rounds), server_step=averaging())
    nodes = {node: person(*PEOPLE[node], RecordDict()) for node in PEOPLE}
    strategy.start(StreamingGrid(FakeGrid(nodes)), strategy.arrays(), num_rounds=rounds, timeout=1.0)
    return strategy


def test_it_finds_the_optimum_that_federated_averaging_misses(tmp_path):
    averaged = train(tmp_path / "a", DPFedOpt).vector
    assert (averaged - OPTIMUM).abs().min() > 2e-3
    corrected = train(tmp_path / "c", Scaffold)
    torch.testing.assert_close(corrected.vector, torch.full((LAYOUT.size,), OPTIMUM), rtol=0, atol=1e-4)
    assert corrected.control.abs().max() < 1e-3  # the mean gradient vanishes at the optimum


def test_a_refused_reply_does_not_move_the_servers_control(tmp_path):
    def liar(message):
        content = person(1.0, 0.03, RecordDict())(message)
        content["answer"]["round"] = 99
        return content

    strategy = Scaffold(**make_parts(tmp_path, {1: 1}, z=0.0), server_step=averaging())
    strategy.start(StreamingGrid(FakeGrid({1: liar})), strategy.arrays(), num_rounds=1, timeout=1.0)
    assert "asked was 1" in strategy.last_report.dropped[0].reason
    assert not strategy.control.any()


def test_a_private_plan_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"control variates leave the nodes un-noised"):
        Scaffold(**make_parts(tmp_path, {1: 1}, z=1.0), server_step=averaging())
