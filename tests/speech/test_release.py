"""The presets of the paper train as the authors' release does, and the other presets as before.

What the release does is written out here, from apple/ml-pfl4asr (2025); docs/models.md has the table.
"""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from base.registries import MODEL_PRESETS
from speech.model.ctc_transformer import CTCTransformer
from speech.model.layers import Block

OF_THE_PAPER = [name for name in MODEL_PRESETS if name.startswith("paper")]
SMALL = {"num_mels": 8, "width": 16, "heads": 2, "feed_forward": 64, "layers": 2}
P = 0.3


def shrunk(preset: str, **changes) -> CTCTransformer:
    """A preset at a size for tests, in training, no parameter at a neutral value."""
    torch.manual_seed(0)
    model = CTCTransformer(
        replace(MODEL_PRESETS[preset].shape, **{**SMALL, "dropout": P, "layer_drop": 0.0, **changes})
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.train()


def block_of(preset: str) -> Block:
    return shrunk(preset).blocks[0]


def test_one_table_of_what_sets_presets_apart() -> None:
    """No preset takes a rule of the other kind by accident."""
    rules = {
        name: (
            preset.shape.drop_outputs,
            preset.shape.norms_when_dropped,
            preset.shape.zero_biases,
            preset.features.framing,
            preset.features.window,
            preset.augment.ends,
        )
        for name, preset in MODEL_PRESETS.items()
    }
    of_the_release = (False, True, False, "whole", "symmetric hamming", "excluded")
    ours = (True, False, True, "centred")
    assert rules == {
        **dict.fromkeys(("tiny", "tiny-6", "tiny-12", "tiny-24"), (*ours, "hann", "included")),
        "small": (*ours, "hann", "included"),
        "conformer": (*ours, "hamming", "included"),
        **dict.fromkeys(OF_THE_PAPER, of_the_release),
    }


@pytest.mark.parametrize("preset", OF_THE_PAPER)
def test_what_attention_and_mlp_add_is_not_dropped(preset: str) -> None:
    """An entry of them is zero where dropout fell on it, and else by no chance: 30 % would be."""
    block, hidden = block_of(preset), torch.randn(4, 40, 16)
    for added in (block._attention(hidden, None), block._mlp(hidden)):
        assert (added == 0).sum() == 0


@pytest.mark.parametrize("preset", OF_THE_PAPER)
def test_what_comes_out_of_the_relu_is_dropped(preset: str) -> None:
    """A share P of some 5,000 positive entries, within six standard deviations (false alarm 2e-9)."""
    block, hidden, seen = block_of(preset), torch.randn(4, 40, 16), []
    block.w2.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    block._mlp(hidden)
    positive = block.w1(hidden) > 0
    count, kept = int(positive.sum()), seen[0][positive] != 0
    assert count > 4_000
    assert float(kept.float().mean()) == pytest.approx(1 - P, abs=6 * math.sqrt(P * (1 - P) / count))
    torch.testing.assert_close(seen[0][positive][kept], block.w1(hidden)[positive][kept] / (1 - P))


@pytest.mark.parametrize("preset", OF_THE_PAPER)
def test_attention_weights_are_dropped(preset: str) -> None:
    """Where all frames are alike the weights are equal, and a sum of them counts those that were kept."""
    block, hidden = block_of(preset), torch.randn(1, 1, 16).expand(8, 50, 16)
    with torch.no_grad():
        block.wo.weight.copy_(torch.eye(16))
        value = block.wqkv(hidden)[..., 32:]
        counts = (block._attention(hidden, None) / value) * 50 * (1 - P)
    torch.testing.assert_close(counts, counts.round(), atol=1e-2, rtol=0)
    assert len(counts.round().unique()) > 5  # the number of 50 that are kept, 800 times drawn
    spread = 6 * math.sqrt(50 * P * (1 - P) / 800)
    assert float(counts.mean()) == pytest.approx(50 * (1 - P), abs=spread)


def left_out(model: CTCTransformer, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    """(before the blocks, log-probabilities) of a training batch in which every block is left out."""
    monkeypatch.setattr(CTCTransformer, "_left_out", lambda self: True)
    before: list[Tensor] = []
    model.positions.register_forward_hook(lambda module, inputs, output: before.append(output))
    log_probs, _ = model(torch.randn(2, 60, 8), torch.tensor([60, 60]))
    return before[0], log_probs


def test_a_block_left_out_under_post_ln_still_applies_both_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    model = shrunk("paper-post-norm")
    hidden, found = left_out(model, monkeypatch)
    for block in model.blocks:
        hidden = block.mlp_norm(block.attention_norm(hidden))
    torch.testing.assert_close(found, model.output(model.norm(hidden)).log_softmax(-1))
    found[..., 0].sum().backward()
    learnt = {
        name.split(".")[2] for name, p in model.named_parameters() if "blocks" in name and p.grad is not None
    }
    assert learnt == {"attention_norm", "mlp_norm"}


@pytest.mark.parametrize("changes", [{}, {"norm": "post", "norms_when_dropped": False}])
def test_a_block_left_out_else_changes_nothing(changes: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    model = shrunk("paper", **changes)
    hidden, found = left_out(model, monkeypatch)
    torch.testing.assert_close(found, model.output(model.norm(hidden)).log_softmax(-1))


def fan_in(layer: nn.Module) -> int:
    return layer.weight[0].numel()


@pytest.mark.parametrize("preset", OF_THE_PAPER)
def test_initial_parameters_are_the_releases(preset: str) -> None:
    """U(+-b) fills its interval: of 768 draws or more, none beyond 0.98 b has a probability of 2e-7."""
    torch.manual_seed(0)
    model = CTCTransformer(replace(MODEL_PRESETS[preset].shape, layers=1))
    block = model.blocks[0]
    for values, bound in (
        (model.frontend.conv.bias, math.sqrt(1 / 560)),
        (model.frontend.conv.weight, math.sqrt(3 / 560)),
        (model.output.weight, math.sqrt(3 / fan_in(model.output))),
        *(
            (layer.weight, math.sqrt(1 / fan_in(layer)))
            for layer in (block.wqkv, block.wo, block.w1, block.w2)
        ),
    ):
        assert 0.98 * bound < values.abs().max() <= bound
        assert float(values.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)
    bound = math.sqrt(1 / fan_in(model.output))
    assert 0.7 * bound < model.output.bias.abs().max() <= bound  # 30 draws: 2e-5


@pytest.mark.parametrize("preset", ["tiny", "small", "conformer"])
def test_other_presets_begin_with_biases_of_zero(preset: str) -> None:
    model = CTCTransformer(MODEL_PRESETS[preset].shape)
    assert not model.frontend.conv.bias.any() and not model.output.bias.any()


def test_a_regularised_small_preset_drops_what_it_did() -> None:
    """`local.dropout` on `tiny` falls on outputs too, as it did."""
    block = block_of("tiny")
    assert (block._mlp(torch.randn(4, 40, 16)) == 0).float().mean() > 0.2
