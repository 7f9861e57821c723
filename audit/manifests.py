"""Speech that a test writes: a manifest and its sound files, ordinary or as odd as somebody's may be."""

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
class Said:
    """One line of a manifest and its file: a `wave`, or `content` as it is, or (both None) no file.

    `duration` None leaves it out of the manifest, so that a file that cannot be read is left out when the
    corpus is loaded; with a duration that happens when it is trained on. `file` is a name to share.
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
        """Write the sound file, if there shall be one."""
        if self.content is not None:
            path.write_bytes(self.content)
        elif self.wave is not None:
            soundfile.write(path, self.wave, self.rate_hz, subtype=self.subtype)


Speech = Sequence[Said]
PopulationIdentity = Mapping[str, Speech]
"""A node's speakers by name."""


def tone(text: str, seed: int) -> Wave:
    """Half a second or so in which each letter is a tone of its own."""
    rng = np.random.default_rng(seed)
    span = np.arange(int(0.06 * RATE_HZ)) / RATE_HZ
    wave = 0.3 * np.concatenate(
        [np.sin(2 * np.pi * (200 + 90 * (ord(letter) % 32)) * span) for letter in text]
    )
    return (wave + 0.01 * rng.standard_normal(wave.size)).astype(np.float32)


def ordinary_speech(seed: int, utterances: int = 3) -> list[Said]:
    """What most people say: a few short utterances."""
    texts = [f"{WORDS[(seed + n) % 5]} {WORDS[(seed + 2 * n + 1) % 5]}" for n in range(utterances)]
    waves = [tone(text, 1000 * seed + n) for n, text in enumerate(texts)]
    return [
        Said(text=text, wave=wave, duration=len(wave) / RATE_HZ)
        for text, wave in zip(texts, waves, strict=True)
    ]


def write_people(folder: Path, people: PopulationIdentity) -> Path:
    """Write a node's speech; returns its manifest's path."""
    folder.mkdir(parents=True)
    lines = []
    for name, speech in people.items():
        for number, said in enumerate(speech):
            file = said.file or f"{name}-{number}.wav"
            if not (folder / file).exists():
                said.write(folder / file)
            entry: dict[str, object] = {
                "audio_filepath": file,
                "text": said.text,
                "speaker": name,
                "split": "train",
            }
            optional = {"duration": said.duration, "id": said.id, "offset": said.offset}
            lines.append(entry | {key: value for key, value in optional.items() if value is not None})
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return manifest
