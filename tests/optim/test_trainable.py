import pytest
import torch
from torch import nn

from optim.flat_model import bind, bind_gradients
from optim.trainable import freeze, frozen_digest, trained_names
from privacy import LayerLayout
from recipes import ConfigError
from speech.data.batching import collate
from speech.data.examples import Example
from speech.model.ctc_transformer import build_model


@pytest.fixture
def model():
    return build_model("tiny", seed=0)


def names_of(layout: LayerLayout) -> list[str]:
    return list(layout.views(torch.zeros(layout.size)))


def test_patterns_name_what_is_trained(model):
    assert trained_names(model, "output.*") == ["output.weight", "output.bias"]
    norms = trained_names(model, "blocks.*.mlp_norm.*, norm.*")
    assert len(norms) == 3 * 2 + 2
    assert trained_names(model, "all") == [name for name, _ in model.named_parameters()]


def test_a_pattern_that_fits_nothing_is_named_with_what_there_is(model):
    with pytest.raises(ConfigError, match=r"es 'outputs\.\*'; its parameters are frontend\.conv\.weight"):
        freeze(model, "norm.*,outputs.*")


def test_only_what_is_trained_is_in_the_vector(model):
    freeze(model, "norm.*,output.*")
    frontend = model.frontend.conv.weight.detach().clone()
    layout, vector = bind(model)
    assert names_of(layout) == ["norm.weight", "norm.bias", "output.weight", "output.bias"]
    assert layout.size == 96 + 96 + 30 * 96 + 30
    vector.fill_(7.0)
    assert (model.output.weight == 7.0).all()
    assert torch.equal(model.frontend.conv.weight, frontend)


def test_nothing_is_computed_below_the_lowest_trained_layer(model):
    freeze(model, "blocks.2.mlp_norm.*,output.*")
    layout, _ = bind(model)
    gradients = bind_gradients(model, layout)
    below = []
    model.blocks[1].register_forward_hook(lambda *call: below.append(call[-1].requires_grad))
    example = Example.of("a", "one", torch.randn(60, 40, generator=torch.Generator().manual_seed(0)))
    model.objective(collate([example])).backward()
    assert all(view.abs().max() > 0 for view in layout.views(gradients).values())
    assert model.blocks[1].w1.weight.grad is None
    assert below == [False]


def test_the_digest_is_of_the_frozen_values_alone(model):
    assert frozen_digest(model) == ""
    freeze(model, "output.*")
    before = frozen_digest(model)
    with torch.no_grad():
        model.output.bias += 1
    assert frozen_digest(model) == before
    with torch.no_grad():
        model.norm.bias[3] += 1e-6
    assert frozen_digest(model) != before


def test_the_digest_says_what_is_frozen(model):
    freeze(model, "output.*")
    one = frozen_digest(model)
    freeze(model, "output.*,norm.bias")
    assert frozen_digest(model) != one


def test_a_frozen_scalar_has_a_digest():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.shift = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.zeros(1))

    one, other = Scaled(), Scaled()
    for module in (one, other):
        freeze(module, "shift")
    assert frozen_digest(one) == frozen_digest(other)
    with torch.no_grad():
        other.scale.fill_(3.0)
    assert frozen_digest(one) != frozen_digest(other)
