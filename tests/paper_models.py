"""A small preset "paper", and its model files as an earlier release wrote them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from base.registries import MODEL_PRESETS
from speech.model import checkpoint, presets

FEATURES_BEFORE = (
    '{"fft_size": 512, "floor": 1.0, "gain": 32768.0, "hop_seconds": 0.01, "normalise": "utterance", '
    '"num_mels": 80, "power": 1, "pre_emphasis": 0.97, "sample_rate_hz": 16000, "window": "hamming", '
    '"window_seconds": 0.025}'
)
"""Centred on the samples, as the preset computed them then."""


@contextmanager
def small_paper() -> Iterator[None]:
    """Give the preset "paper" few parameters for the block."""
    small = replace(MODEL_PRESETS["paper"].shape, width=16, feed_forward=32, layers=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "PAPER", replace(presets.PAPER, shape=small))
        checkpoint._shapes_of.cache_clear()
        yield
    checkpoint._shapes_of.cache_clear()


def date_back(path: Path) -> None:
    """Let a model file of the preset "paper" say that its features are those of the earlier release."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, metadata={**metadata, "features": FEATURES_BEFORE})
