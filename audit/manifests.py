"""Speech for tests: a manifest and its audio files, ordinary or as odd as files can be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

RATE_HZ = 16_000
WORDS = ("one", "two", "three", "four", "five")

Wave = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One line of a manifest and its audio file.

    Args:
        text: the transcript.
        wave: the samples to write; None for `content`, or for no file.
        content: the bytes to write instead of samples.
        duration: in seconds. None leaves it out of the manifest: then an unreadable file is skipped when the
            corpus is loaded. With a duration it is skipped when it is trained on.
        subtype: the sample format.
        rate_hz: the sample rate.
        id: the utterance's id; None for the default one.
        offset: in seconds; None for the start of the file.
        file: the file's name, so that utterances can share a file; "" for a name of its own.
    """

    text: str
    wave: Wave | None = None
    content: bytes | None = None
    duration: float | None = None
    subtype: str = "PCM_16"
    rate_hz: int = RATE_HZ
    id: str | None = None
    offset: float | None = None
    file: str = ""

    def write(self, path: Path) -> None:
        """Write the audio file, if the utterance has one."""
        if self.content is not None:
            path.write_bytes(self.content)
        elif self.wave is not None:
            soundfile.write(path, self.wave, self.rate_hz, subtype=self.subtype)


Speech = Sequence[Utterance]
NodeSpeakers = Mapping[str, Speech]
"""The speech of a node's speakers, by name."""


def tone(text: str, seed: int) -> Wave:
    """About half a second of audio in which each letter is a tone of its own."""
    rng = np.random.default_rng(seed)
    span = np.arange(int(0.06 * RATE_HZ)) / RATE_HZ
    wave = 0.3 * np.concatenate(
        [np.sin(2 * np.pi * (200 + 90 * (ord(letter) % 32)) * span) for letter in text]
    )
    return (wave + 0.01 * rng.standard_normal(wave.size)).astype(np.float32)


def ordinary_speech(seed: int, utterances: int = 3) -> list[Utterance]:
    """Ordinary speech of one speaker: a few short utterances."""
    texts = [f"{WORDS[(seed + n) % 5]} {WORDS[(seed + 2 * n + 1) % 5]}" for n in range(utterances)]
    waves = [tone(text, 1000 * seed + n) for n, text in enumerate(texts)]
    return [
        Utterance(text=text, wave=wave, duration=len(wave) / RATE_HZ)
        for text, wave in zip(texts, waves, strict=True)
    ]


def write_manifest(folder: Path, speakers: NodeSpeakers) -> Path:
    """Write a node's speech; returns the path of its manifest."""
    folder.mkdir(parents=True)
    lines = []
    for name, speech in speakers.items():
        for number, one in enumerate(speech):
            file = one.file or f"{name}-{number}.wav"
            if not (folder / file).exists():
                one.write(folder / file)
            entry: dict[str, object] = {
                "audio_filepath": file,
                "text": one.text,
                "speaker": name,
                "split": "train",
            }
            optional = {"duration": one.duration, "id": one.id, "offset": one.offset}
            lines.append(entry | {key: value for key, value in optional.items() if value is not None})
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return manifest
