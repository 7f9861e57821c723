"""Any corpus, written down as a manifest of ours: its audio where it lies, or converted beside it.

The prepared corpus has the utterances, ids and normalised texts of the one that it came from, and so its
digest. Converted audio is FLAC, 16 kHz, mono: a segment becomes a file of its own. A conversion that was
interrupted goes on where it was; the manifest comes last and whole.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from speech.audio import SAMPLE_RATE_HZ, read_audio
from speech.corpora.manifest import MANIFEST_NAME
from speech.corpus import Corpus, Skipped, Utterance
from speech.errors import AudioError, CorpusError


def write_manifest(corpus: Corpus, out: Path) -> Path:
    """Write `out`/manifest.jsonl; returns its path. Raises `CorpusError` if there is one."""
    out.mkdir(parents=True, exist_ok=True)
    manifest = out / MANIFEST_NAME
    if manifest.exists():
        raise CorpusError(f"{manifest} is there already; give another folder, or remove it.")
    unfinished = out / f".{MANIFEST_NAME}.part"
    with unfinished.open("w", encoding="utf-8") as file:
        for utterance in corpus.all_utterances():
            file.write(json.dumps(_line(utterance, corpus.language, out), ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(manifest)
    return manifest


def convert(
    corpus: Corpus, out: Path, *, workers: int = 1, progress: Callable[[], None] = lambda: None
) -> Corpus:
    """The corpus with all audio as FLAC at 16 kHz under `out`/audio; what cannot be decoded is skipped.

    `progress` is called after every utterance. Raises `CorpusError` when nothing can be decoded, and
    `OSError` when the disk is full.
    """
    utterances = list(corpus.all_utterances())
    (out / "audio").mkdir(parents=True, exist_ok=True)
    converted: list[Utterance] = []
    skipped = list(corpus.skipped)
    for result in _converted(utterances, out, workers):
        progress()
        if isinstance(result, Skipped):
            skipped.append(result)
        else:
            converted.append(result)
    lost = {left_out.source for left_out in skipped}
    return Corpus.of(
        corpus.name,
        converted,
        skipped,
        language=corpus.language,
        mapped=(kept for kept in corpus.mapped if kept.source not in lost),
    )


def _converted(utterances: list[Utterance], out: Path, workers: int) -> Iterator[Utterance | Skipped]:
    if workers == 1:
        yield from (_convert(out, utterance) for utterance in utterances)
        return
    # A process that torch has threads in must not be forked.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(partial(_convert, out), utterances, chunksize=16)


def _convert(out: Path, utterance: Utterance) -> Utterance | Skipped:
    """One file; its name is a hash, for ids may be paths, and folders must not grow without bound."""
    name = hashlib.sha256(utterance.id.encode()).hexdigest()[:32]
    file = out / "audio" / name[:2] / f"{name}.flac"
    try:
        if not file.is_file():
            wave = read_audio(
                utterance.audio,
                offset_seconds=utterance.offset_seconds,
                duration_seconds=utterance.duration_seconds,
            )
            file.parent.mkdir(exist_ok=True)
            unfinished = file.with_name(f".{name}.{os.getpid()}.part")
            _write(unfinished, wave.numpy())
            unfinished.replace(file)
        seconds = soundfile.info(file).duration
    except AudioError as error:
        return Skipped(
            source=utterance.source, reason=str(error), split=utterance.split, speaker=utterance.speaker
        )
    return replace(utterance, audio=file, offset_seconds=0.0, duration_seconds=seconds)


def _write(file: Path, samples: np.ndarray) -> None:
    try:
        soundfile.write(file, samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    except soundfile.LibsndfileError as error:
        file.unlink(missing_ok=True)
        raise OSError(f"{file}: cannot be written ({error}); is the disk full?") from None


def _line(utterance: Utterance, language: str, out: Path) -> dict[str, Any]:
    audio, folder = utterance.audio.absolute(), out.absolute()
    inside = audio.is_relative_to(folder)
    line = {
        "audio_filepath": str(audio.relative_to(folder) if inside else audio),
        "text": utterance.text,
        "speaker": utterance.speaker,
        "split": utterance.split,
        "id": utterance.id,
        "lang": language,
    }
    if utterance.duration_seconds is not None:
        line["duration"] = round(utterance.duration_seconds, 6)
    if utterance.offset_seconds:
        line["offset"] = utterance.offset_seconds
    return line
