"""Digests of tensors stay what they were: server, nodes and feature caches of earlier releases have them."""

import torch
from torch import nn

from optim.trainable import frozen_digest
from speech.model.stem import Stem

FROZEN = "fafa88a516a44685bebd483b852d50c3f160dcfcfb966bdc93e3602e62c48268"
WITH_SETTINGS = "b560c99b8d9b92ebf1853acd61739a42508127261fa18fb1b10e0ca5487d9c7c"
STEM = "55c74a04cd79b08877c0644707cb9523ee5d99f67a421e5235fdb75d44b028b6"


def layer() -> nn.Linear:
    made = nn.Linear(3, 2)
    with torch.no_grad():
        made.weight.copy_(torch.arange(6).reshape(2, 3))
        made.bias.copy_(torch.tensor([0.5, -1.0]))
    made.register_buffer("steps", torch.tensor(7))
    return made


def test_the_digest_of_what_is_frozen_is_that_of_before() -> None:
    one = layer()
    one.weight.requires_grad_(False)
    assert frozen_digest(one) == FROZEN
    one.settings_digest = "settings"
    assert frozen_digest(one) == WITH_SETTINGS


def test_the_digest_of_a_stem_is_that_of_before() -> None:
    stem = Stem(modules=(layer(), layer()), compute=layer(), width=2, stride=1, name="short")
    assert stem.digest() == STEM
