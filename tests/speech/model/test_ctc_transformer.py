import math
from dataclasses import replace

import pytest
import torch

from base.registries import MODEL_PRESETS
from speech.data.batching import collate
from speech.data.examples import Example
from speech.model.ctc_transformer import CTCTransformer, build_model

SMALL = {"num_mels": 8, "width": 16, "heads": 2, "feed_forward": 32, "layers": 2, "block_kernel": 5}
SHAPES = {
    **{name: MODEL_PRESETS[name].shape for name in ("tiny", "paper", "paper-post-norm", "conformer")},
    "pre-norm, conv": replace(
        MODEL_PRESETS["paper"].shape, positions="conv", frontend="relu", input_norm=False
    ),
    "post-norm, conv": replace(MODEL_PRESETS["paper-post-norm"].shape, positions="conv"),
    "conformer, conv": replace(MODEL_PRESETS["conformer"].shape, positions="conv"),
}


def shrunk(shape: str, **changes) -> CTCTransformer:
    """An architecture at a size for tests, without dropout, no parameter at a neutral value."""
    config = replace(SHAPES[shape], **{**SMALL, "dropout": 0.0, "layer_drop": 0.0, **changes})
    torch.manual_seed(0)
    model = CTCTransformer(config)
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


def test_the_whole_paper_model_takes_a_step_on_a_cpu() -> None:
    """The one test at full size (2 GB): every tensor learns, and a step downhill lowers the loss."""
    model = build_model("paper", seed=0).eval()  # nothing is drawn: no dropout, no shift of positions
    generator = torch.Generator().manual_seed(0)
    batch = collate(
        [
            Example.of("a", "ten words", torch.randn(64, 80, generator=generator)),
            Example.of("b", "two", torch.randn(40, 80, generator=generator)),
        ]
    )
    loss = model.objective(batch)
    loss.backward()
    norms = [float(p.grad.norm()) for p in model.parameters()]
    assert len(norms) == 296 and all(0 < norm < math.inf for norm in norms)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(parameter.grad, alpha=0.01 / math.hypot(*norms))
        assert 0 < float(model.objective(batch)) < float(loss)


@pytest.mark.parametrize(
    ("preset", "parameters", "tensors"),
    [
        ("tiny", 372_222, 32),
        ("tiny-24", 2_702_718, 200),
        ("small", 2_737_374, 56),
        ("conformer", 7_937_600, 488),
    ],
)
def test_small_presets(preset: str, parameters: int, tensors: int) -> None:
    found = list(build_model(preset).parameters())
    assert (sum(p.numel() for p in found), len(found)) == (parameters, tensors)


@pytest.mark.parametrize(
    ("preset", "millions", "tensors"),
    [
        ("paper-narrow", 114, 296),
        ("paper-shallow", 114, 136),
        ("paper-wide", 450, 296),
        ("paper-deep", 510, 584),
        ("paper-post-norm", 255.800864, 296),
    ],
)
def test_the_ablations_have_the_sizes_of_the_paper(preset: str, millions: float, tensors: int) -> None:
    """Sizes as App. H.7 prints them, to two or three digits."""
    with torch.device("meta"):
        found = list(build_model(preset).parameters())
    assert sum(p.numel() for p in found) == pytest.approx(millions * 1e6, rel=0.01)
    assert len(found) == tensors
    assert MODEL_PRESETS[preset].shape.layer_drop == (0.3 if preset == "paper-post-norm" else 0.1)


def test_a_language_changes_the_outputs_and_nothing_else() -> None:
    english, german = build_model("tiny", seed=1), build_model("tiny", "de", seed=1)
    assert (german.config.language, german.config.num_outputs) == ("de", 34)
    different = {
        name
        for name, value in english.state_dict().items()
        if not torch.equal(value, german.state_dict()[name])
    }
    assert different == {"output.weight", "output.bias"}
    with pytest.raises(ValueError, match="unknown language 'tlh'"):
        build_model("tiny", "tlh")


@pytest.mark.parametrize("preset", MODEL_PRESETS)
def test_nothing_is_learnt_but_parameters(preset: str) -> None:
    with torch.device("meta"):
        model = build_model(preset)
    assert not list(model.buffers())
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lengths", [[60, 47, 3, 1], [60, 59, 58, 57], [60, 60, 60, 60]])
def test_a_padded_batch_gives_what_its_utterances_give_alone(shape: str, lengths: list[int]) -> None:
    model = shrunk(shape)
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


@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_are_log_probabilities_and_every_parameter_gets_a_gradient(shape: str) -> None:
    model = shrunk(shape)
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


def test_pre_and_post_norm_differ_by_where_the_norms_are_and_not_by_the_tensors() -> None:
    pre, post = shrunk("paper"), shrunk("paper-post-norm")
    post.load_state_dict(pre.state_dict())
    features, lengths = torch.randn(2, 60, 8), torch.tensor([60, 33])
    block, hidden = post.blocks[0], torch.randn(2, 7, 16)
    halfway = block.attention_norm(hidden + block._attention(hidden, None))
    torch.testing.assert_close(block(hidden, None, None), block.mlp_norm(halfway + block._mlp(halfway)))
    assert not torch.allclose(pre(features, lengths)[0], post(features, lengths)[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_bfloat16_blocks_still_give_float32_log_probabilities(shape: str) -> None:
    model = shrunk(shape)
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
        ({"heads": 5}, "width=768 must be a multiple of heads=5"),
        ({"kernel": 8}, "kernel=8 must be odd"),
        ({"block_kernel": 30}, "block_kernel=30 must be odd"),
        ({"dropout": 1.0}, r"dropout=1.0 must lie in \[0, 1\)"),
        ({"frontend": "gelu"}, "'gelu' must be 'glu' or 'relu'"),
        ({"positions": "none"}, "'none' must be 'cape' or 'conv'"),
        ({"norm": "batch"}, "'batch' must be 'pre' or 'post'"),
        ({"block": "conformer", "norm": "post"}, "norm='post' is for block='transformer'"),
    ],
)
def test_impossible_shapes_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(MODEL_PRESETS["paper"].shape, **change)


def test_an_unknown_preset_names_the_known() -> None:
    with pytest.raises(ValueError, match="unknown model preset 'huge'; known are 'conformer', 'paper'"):
        build_model("huge")
