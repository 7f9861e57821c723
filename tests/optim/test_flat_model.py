import re

import pytest
import torch
from torch import nn

from base.clip_groups import ClipGroups
from optim.flat_model import bind, bind_gradients, layout_of
from recipes import ConfigError
from speech.features.torchaudio_loader import torchaudio
from speech.model.ctc_transformer import build_model


def small_model():
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def test_writing_the_vector_writes_the_model_and_the_other_way_round():
    model = small_model()
    before = [value.detach().clone() for value in model.parameters()]
    layout, vector = bind(model)
    assert layout.size == sum(value.numel() for value in before)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    vector.fill_(0.5)
    assert all((value == 0.5).all() for value in model.parameters())
    with torch.no_grad():
        model[0].bias[2] = 9.0
    assert (vector == 9.0).sum() == 1


def test_an_sgd_step_on_the_vectors_is_torchs_sgd_step():
    model, reference = small_model(), small_model()
    reference.load_state_dict(model.state_dict())
    layout, vector = bind(model)
    gradients = bind_gradients(model, layout)
    optimiser = torch.optim.SGD(reference.parameters(), lr=0.1)
    data = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        gradients.zero_()
        model(data).square().sum().backward()
        vector.add_(gradients, alpha=-0.1)
        optimiser.zero_grad()
        reference(data).square().sum().backward()
        optimiser.step()
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), "1 is a BatchNorm1d.*use LayerNorm or GroupNorm"),
        (nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False)), "0 is a BatchNorm1d"),
        (torchaudio.models.Conformer(4, 2, 8, 1, 3), "conv_module.sequential.3 is a BatchNorm1d"),
        (nn.InstanceNorm1d(2, track_running_stats=True), "has buffers .running_mean"),
        (nn.Linear(2, 2).double(), "float64"),
    ],
)
def test_what_would_leave_outside_the_clipped_update_is_refused(model, complaint):
    with pytest.raises(ValueError, match=complaint):
        bind(model)


def test_parameters_that_share_memory_are_refused_under_whatever_objects():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    bind(model)
    bind(model)  # parts of one vector share its storage, and no memory
    model[1].weight = nn.Parameter(model[0].weight.data)
    with pytest.raises(ValueError, match=r"1.weight with 0.weight"):
        bind(model)


def test_the_conformer_is_one_vector():
    layout, vector = bind(build_model("conformer"))
    assert (len(layout), vector.shape) == (488, (7_937_600,))


def test_a_model_on_two_devices_is_refused():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta"))
    with pytest.raises(ValueError, match=r"\['cpu', 'meta'\]: move the model to one device"):
        bind(model)


def test_a_parameter_that_layers_share_is_in_the_vector_once_and_stays_shared():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    layout, vector = bind(model)
    assert (layout.names, len(vector)) == (("0.weight",), 4)
    gradients = bind_gradients(model, layout)
    model(torch.ones(1, 2)).sum().backward()
    vector -= gradients
    assert model[1].weight is model[0].weight
    assert torch.equal(model[1].weight.data.reshape(-1), vector)


def test_frozen_batch_norms_are_taken_where_buffers_stay_constant():
    norm = nn.BatchNorm1d(2).requires_grad_(False)
    model = nn.Sequential(nn.Linear(2, 2), norm)
    with pytest.raises(ValueError, match="1 is a BatchNorm1d"):
        bind(model.train(), constant_buffers=True)
    with pytest.raises(ValueError, match="1 is a BatchNorm1d"):
        bind(model.eval())
    layout, _ = bind(model.eval(), constant_buffers=True)
    assert layout.names == ("0.weight", "0.bias")


def test_with_clip_groups_the_parameters_of_a_group_lie_side_by_side():
    model, groups = small_model(), ClipGroups.read("*.bias=0.2,2.*=0.3,*=0.5")
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    layout, vector = bind(model, groups)
    assert layout.names == ("0.bias", "1.bias", "2.bias", "2.weight", "0.weight", "1.weight")
    assert layout == layout_of(model, groups) != layout_of(model)
    assert layout.digest != layout_of(model).digest  # so who has other groups trains nobody
    assert all(torch.equal(view, before[name]) for name, view in layout.views(vector).items())
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())


def test_without_clip_groups_the_order_is_that_of_the_model():
    model = small_model()
    names = [name for name, _ in model.named_parameters()]
    assert list(layout_of(model, ClipGroups.read("")).names) == list(layout_of(model).names) == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.*=0.5,1.*=0.5", "no pattern matches the trained tensor '2.weight': add one that does, or a last"),
        (
            "0.*=0.5,encoder.*=0.1,*=0.4",
            "'encoder.*' matches no trained tensor: correct it or leave it out; ",
        ),
    ],
)
def test_clip_groups_that_do_not_fit_the_model_are_refused_by_key_value_and_name(text, said):
    with pytest.raises(ConfigError, match=re.escape(f"privacy.clip-groups = {text!r}: ") + ".*" + said):
        layout_of(small_model(), ClipGroups.read(text))
