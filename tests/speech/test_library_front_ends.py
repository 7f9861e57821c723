"""Front ends of pre-trained models: what the model is given, and nothing beyond it."""

from pathlib import Path

import pytest
import torch

from speech.pretrained.transformers_library import transformers
from tests.pretrained_models import load, tiny_model


@pytest.mark.parametrize("name", ["wav2vec2-bert", "parakeet"])
def test_frames_that_only_fill_up_are_left_out(name: str, tmp_path: Path) -> None:
    folder = tiny_model(name, tmp_path / name)
    waveform = torch.randn(8160, generator=torch.Generator().manual_seed(0))
    extract = transformers().AutoFeatureExtractor.from_pretrained(folder)
    given = extract(waveform.numpy(), sampling_rate=16_000, return_tensors="pt")
    counted = int(given["attention_mask"].sum())
    assert counted < given["attention_mask"].numel()
    features = load(folder).front_end.extractor()(waveform)
    assert features.equal(given["input_features"][0, :counted])
