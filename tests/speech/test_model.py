import math

import pytest
import torch

from speech.model import PRESETS, CTCTransformer, ModelConfig, build_model

SMALL_PAPER = ModelConfig(
    num_mels=8,
    width=16,
    heads=2,
    feed_forward=32,
    layers=2,
    kernel=7,
    stride=3,
    frontend="glu",
    positions="cape",
    input_norm=True,
)


def small_paper() -> CTCTransformer:
    """The paper's architecture at a size for tests, none of its parameters at a neutral value."""
    torch.manual_seed(0)
    model = CTCTransformer(SMALL_PAPER)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def tiny() -> CTCTransformer:
    model = build_model("tiny", seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def test_paper_has_255_800_864_parameters_in_296_tensors() -> None:
    with torch.device("meta"):
        model = build_model("paper")
    parameters = list(model.parameters())
    assert sum(p.numel() for p in parameters) == 255_800_864
    assert len(parameters) == 296


@pytest.mark.parametrize(
    ("preset", "parameters", "tensors"), [("tiny", 372_222, 32), ("small", 2_737_374, 56)]
)
def test_small_presets(preset: str, parameters: int, tensors: int) -> None:
    found = list(build_model(preset).parameters())
    assert (sum(p.numel() for p in found), len(found)) == (parameters, tensors)


def test_a_language_changes_the_outputs_and_nothing_else() -> None:
    english, german = build_model("tiny", seed=1), build_model("tiny", "de", seed=1)
    assert (german.config.language, german.config.num_outputs) == ("de", 34)
    different = {
        name
        for name, value in english.state_dict().items()
        if not torch.equal(value, german.state_dict()[name])
    }
    assert different == {"output.weight", "output.bias"}
    with pytest.raises(ValueError, match="'tlh' is not known"):
        build_model("tiny", "tlh")


@pytest.mark.parametrize("preset", PRESETS)
def test_nothing_is_learnt_but_parameters(preset: str) -> None:
    with torch.device("meta"):
        model = build_model(preset)
    assert not list(model.buffers())
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("make", [tiny, small_paper])
@pytest.mark.parametrize("lengths", [[60, 47, 3, 1], [60, 59, 58, 57], [60, 60, 60, 60]])
def test_a_padded_batch_gives_what_its_utterances_give_alone(make, lengths: list[int]) -> None:
    model = make()
    features = torch.randn(4, 60, model.config.num_mels)
    for row, length in zip(features, lengths, strict=True):
        row[length:] = 0
    together, frames = model(features, torch.tensor(lengths))
    assert together.shape == (4, 60 // model.config.stride, 30)
    for i, length in enumerate(lengths):
        alone, count = model(features[i : i + 1, :length], torch.tensor([length]))
        assert count.tolist() == [frames[i]] == [max(length // model.config.stride, 1)]
        assert alone.shape[1] == frames[i]
        torch.testing.assert_close(together[i, : frames[i]], alone[0], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("make", [tiny, small_paper])
def test_outputs_are_log_probabilities_and_every_parameter_gets_a_gradient(make) -> None:
    model = make()
    log_probs, _ = model(torch.randn(2, 40, model.config.num_mels), torch.tensor([40, 31]))
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(log_probs.shape[:2]))
    log_probs[..., 0].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_a_seed_fixes_the_parameters_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (build_model("tiny", seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.output.weight, other.output.weight)


def test_dropout_and_layer_drop_act_in_training_only() -> None:
    features, lengths = torch.randn(1, 40, 40), torch.tensor([40])
    for change in ({"dropout": 0.5}, {"layer_drop": 0.5}):
        model = build_model("tiny", seed=0, **change)
        torch.manual_seed(0)
        outcomes = {float(model(features, lengths)[0].detach().sum()) for _ in range(12)}
        assert len(outcomes) > 1
        model.eval()
        torch.testing.assert_close(
            model(features, lengths)[0], build_model("tiny", seed=0)(features, lengths)[0]
        )


def test_layer_drop_leaves_out_whole_blocks() -> None:
    model = build_model("tiny", seed=0, layer_drop=0.5)
    torch.manual_seed(0)
    features, lengths = torch.randn(1, 40, 40), torch.tensor([40])
    seen = set()
    for _ in range(40):
        model.zero_grad()
        model(features, lengths)[0][..., 0].sum().backward()
        seen.add(tuple(block.wo.weight.grad is not None for block in model.blocks))
    assert len(seen) == 8


def test_parameters_may_become_views_of_one_vector() -> None:
    model = build_model("tiny", seed=0)
    features, lengths = torch.randn(2, 40, 40), torch.tensor([40, 30])
    before, _ = model(features, lengths)
    vector = torch.cat([p.detach().flatten() for p in model.parameters()])
    offset = 0
    for parameter in model.parameters():
        parameter.data = vector[offset : offset + parameter.numel()].view(parameter.shape)
        offset += parameter.numel()
    torch.testing.assert_close(model(features, lengths)[0], before)
    vector.zero_()
    uniform = torch.full((2, 10, 30), -math.log(30))
    torch.testing.assert_close(model(features, lengths)[0], uniform)


def test_bfloat16_blocks_still_give_float32_log_probabilities() -> None:
    model = small_paper()
    features, lengths = torch.randn(2, 60, 8), torch.tensor([60, 33])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed, frames = model(features, lengths)
    assert mixed.dtype == torch.float32
    exact, _ = model(features, lengths)
    for i, count in enumerate(frames):
        torch.testing.assert_close(mixed[i, :count], exact[i, :count], atol=0.2, rtol=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": 0}, "layers=0 must be at least 1"),
        ({"heads": 3}, "width=16 must be a multiple of heads=3"),
        ({"kernel": 8}, "kernel=8 must be odd"),
        ({"dropout": 1.0}, r"dropout=1.0 must lie in \[0, 1\)"),
        ({"frontend": "gelu"}, "'gelu' must be 'glu' or 'relu'"),
        ({"positions": "none"}, "'none' must be 'cape' or 'conv'"),
    ],
)
def test_impossible_shapes_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**{**SMALL_PAPER.__dict__, **change})


def test_an_unknown_preset_names_the_known() -> None:
    with pytest.raises(ValueError, match="'huge' is not known; known are tiny, small, paper"):
        build_model("huge")
