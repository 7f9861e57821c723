import math

import pytest
import torch
from torch.nn import functional

from speech.model.layers import (
    CapePositions,
    ConvPositions,
    MaskedInputNorm,
    StridedFrontend,
    attention_mask,
    valid_frames,
)


@pytest.mark.parametrize("time", [31, 30, 3, 2, 1])
def test_the_frontend_is_a_convolution(time: int) -> None:
    frontend = StridedFrontend(8, 6, kernel=7, stride=3, glu=True)
    features = torch.randn(2, time, 8)
    conv = functional.conv1d(
        features.transpose(1, 2), frontend.conv.weight, frontend.conv.bias, stride=3, padding=3
    )
    expected = functional.glu(conv, dim=1).transpose(1, 2)[:, : max(time // 3, 1)]
    torch.testing.assert_close(frontend(features), expected)


def test_input_norm_is_over_the_valid_entries_and_keeps_the_padding_zero() -> None:
    norm = MaskedInputNorm()
    with torch.no_grad():
        norm.scale.fill_(3.0)
        norm.shift.fill_(0.5)
    features = 7 + 2 * torch.randn(2, 40, 8)
    features[1, 25:] = 0
    found = norm(features, torch.tensor([40, 25]))
    for row, raw, length in zip(found, features, (40, 25), strict=True):
        valid = raw[:length]
        expected = (valid - valid.mean()) / (valid.var(correction=0) + 1e-5).sqrt() * 3 + 0.5
        torch.testing.assert_close(row[:length], expected)
        assert not row[length:].any()
    torch.testing.assert_close(norm(features[:1], torch.tensor([40]))[0], found[0])


def test_conv_positions_add_a_depthwise_convolution() -> None:
    positions = ConvPositions(6, kernel=5)
    hidden = torch.randn(3, 11, 6)
    conv = functional.conv1d(
        hidden.transpose(1, 2), positions.conv.weight, positions.conv.bias, padding=2, groups=6
    )
    torch.testing.assert_close(
        positions(hidden, torch.tensor([11, 11, 11]), None), hidden + conv.transpose(1, 2)
    )


def test_conv_positions_keep_padding_from_what_is_valid() -> None:
    positions = ConvPositions(6, kernel=5)
    hidden = torch.randn(1, 11, 6)
    lengths = torch.tensor([7])
    padded = positions(hidden, lengths, valid_frames(lengths, 11))
    torch.testing.assert_close(padded[:, :7], positions(hidden[:, :7], lengths, None))


def test_cape_is_centred_on_the_utterance_and_moves_only_in_training() -> None:
    cape = CapePositions(step_seconds=0.03).eval()
    zeros, frames = torch.zeros(2, 9, 16), torch.tensor([9, 5])
    found = cape(zeros, frames, None)
    middle = torch.tensor([0.0, 1.0] * 8)  # sine and cosine of time 0
    torch.testing.assert_close(found[0, 4], middle)
    torch.testing.assert_close(found[1, 2], middle)
    # Channel 0 turns with 30 rad/s, channel 14 ten thousand to the 7/8 times slower.
    assert math.isclose(float(found[0, 5, 0]), math.sin(30 * 0.03), rel_tol=1e-4)
    assert math.isclose(float(found[0, 5, 14]), math.sin(30 * 0.03 / 10_000 ** (14 / 16)), rel_tol=1e-4)
    torch.manual_seed(0)
    cape.train()
    assert not torch.equal(cape(zeros, frames, None), cape(zeros, frames, None))


def test_valid_frames_costs_nothing_where_all_are_valid() -> None:
    assert valid_frames(torch.tensor([4, 4]), 4) is None
    valid = valid_frames(torch.tensor([4, 2]), 4)
    assert valid is not None and valid.tolist() == [[True] * 4, [True, True, False, False]]
    mask = attention_mask(valid, torch.float32)
    assert mask.shape == (2, 1, 1, 4)
    assert mask[1, 0, 0].tolist() == [0, 0, -math.inf, -math.inf]
