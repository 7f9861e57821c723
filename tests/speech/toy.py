"""A language of tones: one pitch per letter, so that a model can learn to read it in seconds."""

import json
from pathlib import Path

import numpy as np
import soundfile
import torch

from speech.corpora.corpus import Corpus
from speech.corpora.loading import load_corpus
from speech.data.examples import Example

RATE_HZ = 16_000
LETTERS = "abcde "
LETTER_SECONDS = 0.12


def tone(text: str, noise: np.random.Generator | None = None) -> np.ndarray:
    """The sound of a text, mono float32 at 16 kHz."""
    time = np.arange(int(LETTER_SECONDS * RATE_HZ)) / RATE_HZ
    pieces = [
        np.sin(2 * np.pi * (300 + 450 * LETTERS.index(letter)) * time) * (letter != " ") for letter in text
    ]
    sound = 0.3 * np.concatenate(pieces)
    if noise is not None:
        sound = sound + 0.003 * noise.standard_normal(len(sound))
    return sound.astype(np.float32)


def sentences(count: int, seed: int) -> list[str]:
    """Random words of the toy alphabet."""
    draw = np.random.default_rng(seed)
    return [
        " ".join("".join(draw.choice(list(LETTERS[:-1]), draw.integers(1, 4))) for _ in range(3))
        for _ in range(count)
    ]


def write_corpus(folder: Path, *, speakers: int = 2, utterances: int = 4, held_out: int = 2) -> Path:
    """A manifest with the splits 'seed' and 'seed-test'; returns its path."""
    noise = np.random.default_rng(1)
    lines = []
    for split, count in (("seed", speakers), ("seed-test", held_out)):
        for number in range(count):
            for index, text in enumerate(sentences(utterances, seed=100 * number + len(split))):
                file = folder / f"{split}-{number}-{index}.wav"
                soundfile.write(file, tone(text, noise), RATE_HZ)
                lines.append(
                    {
                        "audio_filepath": file.name,
                        "duration": len(text) * LETTER_SECONDS,
                        "text": text,
                        "speaker": f"{split}-{number}",
                        "split": split,
                    }
                )
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return manifest


def corpus(folder: Path, **sizes: int) -> Corpus:
    """The corpus that `write_corpus` writes."""
    return load_corpus("manifest", write_corpus(folder, **sizes))


def examples(lengths: list[int], *, mels: int = 40, text: str = "ab cd") -> list[Example]:
    """Examples of random features with so many frames."""
    generator = torch.Generator().manual_seed(0)
    return [
        Example.of(f"example-{i}", text, torch.randn(length, mels, generator=generator))
        for i, length in enumerate(lengths)
    ]
