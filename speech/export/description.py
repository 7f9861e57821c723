"""What an export says of itself: how to use it, where it is from, its licence and its privacy."""

import json
from typing import Any

from base.release import release
from speech.features.log_mel import FeatureConfig
from speech.model.adapted_file import DIGEST
from speech.model.checkpoint import LoadedModel
from speech.pretrained.base import PretrainedRecogniser
from speech.pretrained.folder import EXPORTED

FORMAT = "murmuration-export-1"
METADATA_FILE = EXPORTED
MINIMUM_SECONDS = 0.1
LICENCE_MISSING = "not stated: the publisher of this model must choose one"
ORIGIN = ("run", "lineage")
"""What a federation writes into its model files, beside the tensors, of the runs that made a model."""


def describe(loaded: LoadedModel, *, licence: str, privacy: str) -> dict[str, str]:
    """Return the metadata of an export: everything needed to use it, its licence and its privacy."""
    model, alphabet = loaded.model, loaded.alphabet
    own = _of_pretrained(loaded) if isinstance(model, PretrainedRecogniser) else _of_preset(loaded)
    return {
        "format": FORMAT,
        "murmuration": release(),
        "preset": loaded.public_name,
        "language": alphabet.language,
        "characters": alphabet.characters,
        "sample_rate_hz": str(loaded.features.sample_rate_hz),
        **own,
        "licence": licence,
        "privacy": privacy,
    }


def minimum_samples(config: FeatureConfig) -> int:
    """Return the samples of the shortest waveform that an exported preset takes."""
    return round(MINIMUM_SECONDS * config.sample_rate_hz)


def _of_preset(loaded: LoadedModel) -> dict[str, str]:
    config = loaded.log_mel
    return {
        "blank": str(loaded.alphabet.blank),
        "minimum_samples": str(minimum_samples(config)),
        "samples_per_frame": str(config.hop_samples * loaded.transformer.config.stride),
        "inputs": "waveforms (B, S) float32 in [-1, 1], padded with anything; lengths (B,) int64, in samples",
        "outputs": "log_probs (B, T, characters and the blank) float32; frames (B,) int64, valid of T",
        "decoding": "CTC: best output of each valid frame, repeats collapsed, the blank dropped",
    }


def _of_pretrained(loaded: LoadedModel) -> dict[str, str]:
    choice: Any = loaded.model.choice
    origin = {name: loaded.metadata[name] for name in ORIGIN if name in loaded.metadata}
    return {
        "base_model": loaded.public_name,
        "base_revision": loaded.metadata.get("revision", ""),
        "base_licence": loaded.metadata.get("licence", ""),
        "base_digest": loaded.metadata[DIGEST],
        "window": choice.window,
        "adapters": json.dumps(vars(choice.adapters) if choice.adapters else None),
        **origin,
    }
