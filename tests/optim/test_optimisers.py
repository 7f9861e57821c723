"""Every optimiser against other libraries: torch.optim, pytorch_optimizer, and optax's committed results."""

import json
import math
from pathlib import Path

import pytest
import torch

from base.registries import SERVER_OPTIMISERS
from optim import Adam, FlatOptimiser, make_optimiser, settings_of
from optim.base import BLOCK
from privacy import LayerLayout
from tests.optim import trajectories
from tests.optim.trajectories import SHAPES, STEPS, flat, gradient, learning_rate

LAYOUT = LayerLayout.of(SHAPES)
OPTAX = json.loads(Path(__file__).with_name("optax_golden.json").read_text())
NAMES = sorted(SERVER_OPTIMISERS)


@pytest.fixture(scope="module")
def pytorch_optimizer():
    """Loaded by the process that uses it: each one that shares the tests loads this file."""
    import pytorch_optimizer

    return pytorch_optimizer


def walk(optimiser, dtype=torch.float64, layers=SHAPES, rate=learning_rate):
    """The vector after the steps of `trajectories`, over the `layers` named."""
    pick = torch.cat(
        [torch.full((size,), name in layers) for name, size in zip(SHAPES, LAYOUT.sizes, strict=True)]
    )
    vector = torch.from_numpy(flat(trajectories.start())).to(dtype)[pick]
    for step in range(STEPS):
        optimiser.step_(vector, torch.from_numpy(flat(gradient(step))).to(dtype)[pick], rate(step))
    return vector


def walk_theirs(make, layers=SHAPES, rate=learning_rate, before_step=lambda optimiser, step: None):
    """The same with an optimiser like those of torch, one parameter per layer."""
    begin = trajectories.start()
    parameters = {name: torch.nn.Parameter(torch.from_numpy(begin[name].copy())) for name in layers}
    optimiser = make(list(parameters.values()))
    for step in range(STEPS):
        for name, parameter in parameters.items():
            parameter.grad = torch.from_numpy(gradient(step)[name].copy())
        optimiser.param_groups[0]["lr"] = rate(step)
        before_step(optimiser, step)
        optimiser.step()
    return torch.cat([parameter.detach().ravel() for parameter in parameters.values()])


def close(ours, theirs, tolerance=1e-10):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


TORCH = {
    "adam": ({"epsilon": 1e-6}, lambda p: torch.optim.Adam(p, betas=(0.9, 0.99), eps=1e-6)),
    "adagrad": ({"epsilon": 1e-4}, lambda p: torch.optim.Adagrad(p, eps=1e-4)),
    "adagrad from 0.1": (
        {"epsilon": 1e-4, "initial_accumulator": 0.1},
        lambda p: torch.optim.Adagrad(p, eps=1e-4, initial_accumulator_value=0.1),
    ),
    "sgd": ({"momentum": 0.9}, lambda p: torch.optim.SGD(p, momentum=0.9)),
    "sgd without momentum": ({"momentum": 0.0}, lambda p: torch.optim.SGD(p)),
}


@pytest.mark.parametrize("case", TORCH)
def test_it_is_torchs(case):
    settings, theirs = TORCH[case]
    close(walk(make_optimiser(case.split()[0], **settings)), walk_theirs(theirs))


OPTAX_CASES = {
    "lamb": {},
    "lamb, decay": {"beta1": 0.8, "beta2": 0.99, "epsilon": 1e-2, "weight_decay": 0.1},
    "lars": {},
    "lars, decay": {"weight_decay": 0.1, "trust_coefficient": 0.02, "momentum": 0.5},
    "yogi": {},
    "adam": {},
    "sgd": {},
}


@pytest.mark.parametrize("case", OPTAX_CASES)
def test_it_is_optaxs_with_our_defaults_where_nothing_is_set(case):
    ours = walk(make_optimiser(case.split(",")[0], LAYOUT, **OPTAX_CASES[case]))
    close(ours, torch.tensor(OPTAX[case], dtype=torch.float64))


def test_yogi_is_that_of_pytorch_optimizer(pytorch_optimizer):
    close(walk(make_optimiser("yogi")), walk_theirs(lambda p: pytorch_optimizer.Yogi(p, eps=1e-3)))


def test_lars_is_that_of_pytorch_optimizer_at_a_constant_rate(pytorch_optimizer):
    """Theirs leaves biases alone, multiplies by the rate after the momentum, and decays in another place."""
    optimiser = make_optimiser("lars", LayerLayout.of({"matrix": SHAPES["matrix"]}))
    settings = {"layers": ["matrix"], "rate": lambda step: 0.05}
    close(
        walk(optimiser, **settings),
        walk_theirs(lambda p: pytorch_optimizer.LARS(p, momentum=0.9), **settings),
    )


def test_lamb_is_that_of_pytorch_optimizer(pytorch_optimizer):
    """Theirs knows no bias correction. The trust ratio takes any factor of an update away, so only the
    epsilon feels the difference, and theirs is set to what it would have to be."""
    epsilon = 1e-4

    def as_if_corrected(optimiser, step):
        optimiser.param_groups[0]["eps"] = epsilon * math.sqrt(1 - 0.999 ** (step + 1))

    layers = ["matrix", "bias", "scale"]
    layout = LayerLayout.of({name: SHAPES[name] for name in layers})
    ours = walk(make_optimiser("lamb", layout, epsilon=epsilon), layers=layers)
    theirs = walk_theirs(
        lambda p: pytorch_optimizer.Lamb(p, adam_debias=True, foreach=False),
        layers,
        before_step=as_if_corrected,
    )
    close(ours, theirs, tolerance=1e-4)  # they also add epsilon to the norm of the update


@pytest.mark.parametrize("name", NAMES)
def test_float32_stays_with_float64(name):
    close(
        walk(make_optimiser(name, LAYOUT), torch.float32).double(), walk(make_optimiser(name, LAYOUT)), 1e-4
    )


@pytest.mark.parametrize("name", ["adagrad", "adam", "sgd", "yogi"])
def test_a_vector_of_many_blocks_moves_as_its_parts_do(name):
    small, large = torch.linspace(-1, 1, 1000), torch.linspace(-1, 1, 1000).repeat(2 * BLOCK // 1000 + 1)
    ours, parts = make_optimiser(name), make_optimiser(name)
    for step in range(3):
        ours.step_(large, torch.cos(large * step), 0.01)
        parts.step_(small, torch.cos(small * step), 0.01)
    assert torch.equal(large, small.repeat(2 * BLOCK // 1000 + 1))


@pytest.mark.parametrize("name", NAMES)
def test_state_survives_a_round_trip(name):
    generator = torch.Generator().manual_seed(2)
    gradients = torch.randn(4, LAYOUT.size, generator=generator)
    whole = torch.randn(LAYOUT.size, generator=generator)
    resumed = whole.clone()
    optimiser, first_half, second_half = (make_optimiser(name, LAYOUT) for _ in range(3))
    for step in gradients:
        optimiser.step_(whole, step, 0.1)
    for step in gradients[:2]:
        first_half.step_(resumed, step, 0.1)
    kept = {key: value.clone() for key, value in first_half.state_dict().items()}
    second_half.load_state_dict(kept)
    for step in gradients[2:]:
        second_half.step_(resumed, step, 0.1)
    assert torch.equal(whole, resumed)
    assert all(torch.equal(kept[key], value) for key, value in first_half.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_state_starts_afresh_and_the_gradient_is_left_alone(name):
    optimiser, pseudo_gradient = make_optimiser(name, LAYOUT), torch.linspace(-1, 1, LAYOUT.size)
    once, again = torch.ones(LAYOUT.size), torch.ones(LAYOUT.size)
    optimiser.step_(once, pseudo_gradient, 0.1)
    optimiser.load_state_dict({})
    assert optimiser.state_dict() == {}
    optimiser.step_(again, pseudo_gradient, 0.1)
    assert torch.equal(once, again)
    assert torch.equal(pseudo_gradient, torch.linspace(-1, 1, LAYOUT.size))


@pytest.mark.parametrize("name", NAMES)
def test_it_works_in_place_on_the_buffers_of_its_first_step(name):
    optimiser, vector = make_optimiser(name, LAYOUT), torch.ones(LAYOUT.size)
    optimiser.step_(vector, torch.ones(LAYOUT.size), 0.1)
    places = {key: value.data_ptr() for key, value in optimiser.state_dict().items() if key != "steps"}
    for _ in range(3):
        optimiser.step_(vector, torch.ones(LAYOUT.size), 0.1)
    optimiser.load_state_dict({})
    optimiser.step_(vector, torch.ones(LAYOUT.size), 0.1)
    again = optimiser.state_dict()
    assert places
    assert places == {key: again[key].data_ptr() for key in places}


def test_the_state_of_another_optimiser_is_refused():
    adam = make_optimiser("adam")
    adam.step_(torch.zeros(3), torch.ones(3), 0.1)
    with pytest.raises(ValueError, match=r"holds \['first', 'second', 'steps'\], SGD needs \['steps', 'vel"):
        make_optimiser("sgd").load_state_dict(adam.state_dict())


def test_lambs_trust_ratio_is_capped():
    """Per layer |step| = rate * ratio * |update|; a first update of Adam's is 1 in every coordinate."""
    layout = LayerLayout.of({"large": (4,), "small": (4,)})
    steps = {}
    for cap in (0.0, 10.0):
        vector = torch.tensor([100.0] * 4 + [3.0] * 4)
        before = vector.clone()
        make_optimiser("lamb", layout, trust_ratio_cap=cap).step_(vector, torch.ones(8), 0.01)
        steps[cap] = (before - vector).tolist()
    assert steps[0.0] == pytest.approx([1.0] * 4 + [0.03] * 4, rel=1e-4)
    assert steps[10.0] == pytest.approx([0.1] * 4 + [0.03] * 4, rel=1e-4)


@pytest.mark.parametrize("name", ["lamb", "lars"])
def test_a_layer_wise_step_does_not_feel_the_size_of_the_pseudo_gradient(name):
    walked = []
    for size in (1.0, 1e4):
        vector, optimiser = torch.ones(LAYOUT.size), make_optimiser(name, LAYOUT)
        for step in range(3):
            optimiser.step_(vector, size * torch.cos(torch.arange(LAYOUT.size) + step), 0.1)
        walked.append(vector)
    close(*walked, tolerance=1e-4)


def test_settings_are_those_of_the_optimiser():
    assert settings_of("lars") == ("momentum", "trust_coefficient", "weight_decay")
    assert settings_of("sgd") == ("momentum",)


FAULTS = {
    "no such optimiser": (("adamant", None, {}), "optimiser 'adamant'; known are 'adagrad', 'adam'"),
    "no such setting": (("sgd", None, {"beta1": 0.9}), r"no setting \['beta1'\]; it has \['momentum'\]"),
    "no layout": (("lamb", None, {}), "pass the model's layout"),
    "beta of one": (("adam", None, {"beta2": 1.0}), "beta2=1.0"),
    "no epsilon": (("adagrad", None, {"epsilon": 0.0}), "epsilon=0.0"),
    "none in float32": (("adam", None, {"epsilon": 1e-50}), "epsilon=1e-50"),
    "nan": (("sgd", None, {"momentum": math.nan}), "momentum=nan"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_by_name(fault):
    (name, layout, settings), message = FAULTS[fault]
    with pytest.raises(ValueError, match=message):
        make_optimiser(name, layout, **settings)


def test_a_gradient_of_another_shape_is_refused_and_a_layout_of_another_size():
    adam: FlatOptimiser = Adam()
    with pytest.raises(ValueError, match="differ in shape"):
        adam.step_(torch.zeros(3), torch.zeros(4), 0.1)
    with pytest.raises(ValueError, match=f"has 3 values, the layout {LAYOUT.size}"):
        make_optimiser("lars", LAYOUT).step_(torch.zeros(3), torch.zeros(3), 0.1)


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="registered already"):
        SERVER_OPTIMISERS.add("adam")
