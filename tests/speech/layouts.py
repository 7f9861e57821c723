"""Corpora in the layouts that they are published in, small and made of noise."""

from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000


def sound(file: Path, seconds: float = 0.5, rate_hz: int = RATE_HZ) -> Path:
    """A sound file of the format that its name says."""
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).normal(0, 0.1, round(seconds * rate_hz))
    kind = {".WAV": "WAV", ".wav": "WAV"}.get(file.suffix)
    soundfile.write(file, noise, rate_hz, format=kind)
    return file


def common_voice(folder: Path, rows: dict[str, list[tuple[str, str]]], locale: str = "en") -> Path:
    """A language's folder as v13 has it: `rows[split]` are (client_id, sentence), in clips of their own."""
    header = ["client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accents"]
    header += ["variant", "locale", "segment"]
    for split, utterances in rows.items():
        lines = ["\t".join(header)]
        for number, (speaker, sentence) in enumerate(utterances):
            name = f"common_voice_{locale}_{split}{number}.mp3"
            sound(folder / "clips" / name, rate_hz=32_000)
            lines.append("\t".join([speaker, name, sentence, "2", "0", "", "", "", "", locale, ""]))
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    return folder


def speechocean762(folder: Path, rows: dict[str, list[tuple[str, str]]]) -> Path:
    """The speechocean762 folder: `rows[split]` are (speaker, text) with ids of their own."""
    for split, utterances in rows.items():
        tables: dict[str, list[str]] = {"text": [], "utt2spk": [], "wav.scp": []}
        for number, (speaker, text) in enumerate(utterances):
            id = f"{speaker}{split}{number}"
            wave = f"WAVE/SPEAKER{speaker}/{id}.WAV"
            sound(folder / wave)
            for name, value in (("text", text), ("utt2spk", speaker), ("wav.scp", wave)):
                tables[name].append(f"{id}\t{value}\n")
        (folder / split).mkdir()
        for name, lines in tables.items():
            (folder / split / name).write_text("".join(lines))
    return folder


def librispeech(folder: Path, subset: str, speaker: str, *texts: str) -> Path:
    """Adds one speaker, with one chapter, to a subset of the LibriSpeech folder; returns the folder."""
    chapter = folder / subset / speaker / "7"
    lines = [f"{speaker}-7-{number:04d} {text}\n" for number, text in enumerate(texts)]
    for line in lines:
        sound(chapter / f"{line.split()[0]}.flac")
    (chapter / f"{speaker}-7.trans.txt").write_text("".join(lines))
    return folder
