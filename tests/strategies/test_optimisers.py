import pytest
import torch

from strategies.optimisers import Adam, make_optimiser, server_optimiser


def test_adam_is_torchs_adam_over_many_steps():
    generator = torch.Generator().manual_seed(1)
    vector = torch.randn(257, generator=generator)
    parameter = torch.nn.Parameter(vector.clone())
    reference = torch.optim.Adam([parameter], lr=0.01, betas=(0.9, 0.99), eps=1e-6)
    ours = Adam(beta1=0.9, beta2=0.99, epsilon=1e-6)
    for step in range(50):
        gradient = torch.randn(257, generator=generator) * 10.0 ** (step % 5 - 3)
        parameter.grad = gradient.clone()
        reference.step()
        ours.step_(vector, gradient, 0.01)
    torch.testing.assert_close(vector, parameter.detach(), rtol=1e-5, atol=1e-6)


def test_state_survives_a_round_trip():
    generator = torch.Generator().manual_seed(2)
    gradients = torch.randn(4, 31, generator=generator)
    whole, resumed = torch.zeros(31), torch.zeros(31)
    optimiser, first_half = Adam(), Adam()
    for gradient in gradients:
        optimiser.step_(whole, gradient, 0.1)
    for gradient in gradients[:2]:
        first_half.step_(resumed, gradient, 0.1)
    second_half = Adam()
    second_half.load_state_dict(first_half.state_dict())
    for gradient in gradients[2:]:
        second_half.step_(resumed, gradient, 0.1)
    assert torch.equal(whole, resumed)


def test_an_unknown_optimiser_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'adamant' is unknown; known: \['adam'"):
        make_optimiser("adamant")


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="registered already"):
        server_optimiser("adam")(Adam)
