"""A tiny corpus that any test can make: tones that spell words, in files of a real format."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile

WORDS = ("one", "two", "three", "four", "five")
RATE_HZ = 16000


def tone(text: str, seed: int) -> np.ndarray:
    """One second or so in which each letter is a tone of its own."""
    rng = np.random.default_rng(seed)
    parts = [
        np.sin(2 * np.pi * (200 + 90 * (ord(letter) % 32)) * np.arange(int(0.08 * RATE_HZ)) / RATE_HZ)
        for letter in text
    ]
    wave = 0.3 * np.concatenate(parts)
    return (wave + 0.01 * rng.standard_normal(wave.size)).astype(np.float32)


def make_corpus(folder: Path, splits: Mapping[str, int], utterances: int = 3) -> Path:
    """Write `splits[name]` speakers a split with some utterances each; returns the manifest's path."""
    lines = []
    for split, speakers in splits.items():
        for speaker in range(speakers):
            for number in range(utterances):
                text = f"{WORDS[(speaker + number) % 5]} {WORDS[(speaker + 2 * number + 1) % 5]}"
                name = f"{split}-{speaker:02d}-{number}.flac"
                folder.mkdir(parents=True, exist_ok=True)
                wave = tone(text, seed=1000 * speaker + number)
                soundfile.write(folder / name, wave, RATE_HZ)
                lines.append(
                    {
                        "audio_filepath": name,
                        "duration": len(wave) / RATE_HZ,
                        "text": text,
                        "speaker": f"{split}-{speaker:02d}",
                        "split": split,
                    }
                )
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return manifest
