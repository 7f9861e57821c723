"""The Conformer block against torchaudio's, from the same weights."""

import pytest
import torch
from torch import nn

from speech.features.torchaudio_loader import torchaudio
from speech.model.conformer import ConformerBlock
from speech.model.layers import attention_mask, valid_frames

WIDTH, HEADS, INNER, KERNEL = 16, 2, 48, 5


def theirs_and_ours(dropout: float = 0.0) -> tuple[nn.Module, ConformerBlock]:
    """torchaudio's Conformer of one layer, with group norm, and our block with its weights."""
    torch.manual_seed(0)
    theirs = torchaudio.models.Conformer(WIDTH, HEADS, INNER, 1, KERNEL, dropout, use_group_norm=True)
    ours = ConformerBlock(WIDTH, heads=HEADS, feed_forward=INNER, kernel=KERNEL, dropout=dropout)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    layer = theirs.conformer_layers[0]
    layer_norm, expand, depthwise, group_norm, contract = (
        layer.conv_module.layer_norm,
        *(layer.conv_module.sequential[index] for index in (0, 2, 3, 5)),
    )
    pairs = [
        (layer.self_attn_layer_norm, ours.attention_norm),
        (layer.self_attn.out_proj, ours.wo),
        (layer.final_layer_norm, ours.norm),
        (layer_norm, ours.convolution.norm),
        (depthwise, ours.convolution.depthwise),
        (group_norm, ours.convolution.group_norm),
    ]
    for source, target in (
        (layer.ffn1.sequential, ours.first_feed_forward),
        (layer.ffn2.sequential, ours.second_feed_forward),
    ):
        pairs += [(source[0], target.norm), (source[1], target.w1), (source[4], target.w2)]
    for source, target in pairs:
        target.load_state_dict(source.state_dict())
    for source, target in ((expand, ours.convolution.expand), (contract, ours.convolution.contract)):
        target.load_state_dict({"weight": source.weight.squeeze(2), "bias": source.bias})
    ours.wqkv.load_state_dict(
        {"weight": layer.self_attn.in_proj_weight, "bias": layer.self_attn.in_proj_bias}
    )
    return theirs.eval(), ours.eval()


@pytest.mark.parametrize("time", [1, 7, 40])
def test_on_one_utterance_it_is_torchaudios_conformer(time: int) -> None:
    theirs, ours = theirs_and_ours()
    hidden = torch.randn(3, time, WIDTH)
    expected, _ = theirs(hidden, torch.full((3,), time))
    torch.testing.assert_close(ours(hidden, None, None), expected, atol=1e-5, rtol=1e-5)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


def test_padding_changes_torchaudios_and_not_ours() -> None:
    theirs, ours = theirs_and_ours()
    hidden, lengths = torch.randn(2, 20, WIDTH), torch.tensor([20, 9])
    alone, _ = theirs(hidden[1:, :9], lengths[1:])
    assert not torch.allclose(theirs(hidden, lengths)[0][1:, :9], alone, atol=1e-2)
    valid = valid_frames(lengths, 20)
    together = ours(hidden, valid, attention_mask(valid, hidden.dtype))
    torch.testing.assert_close(together[1:, :9], alone, atol=1e-5, rtol=1e-5)


def test_dropout_acts_in_training_only() -> None:
    _, ours = theirs_and_ours(dropout=0.5)
    hidden = torch.randn(1, 9, WIDTH)
    torch.testing.assert_close(ours(hidden, None, None), theirs_and_ours()[1](hidden, None, None))
    ours.train()
    assert not torch.equal(ours(hidden, None, None), ours(hidden, None, None))
