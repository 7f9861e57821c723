"""Writes any corpus as a manifest, with its audio at its place or converted.

Guarantees: the prepared corpus has the utterances, ids and normalised texts of its source, and so its digest.
Transcripts as they were written and other fields are written too, as far as the corpus has them.
Converted audio is FLAC, 16 kHz, mono, with a file for each utterance. An interrupted conversion continues,
and converts again what changed at the source. The manifest is written last, and as a whole.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain, groupby
from multiprocessing import get_context
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from base.durable_file import replacing
from speech.audio import SAMPLE_RATE_HZ, Recording
from speech.corpora.corpus import Corpus, Skipped, Utterance
from speech.corpora.kinds.manifest import MANIFEST_NAME
from speech.errors import AudioError, CorpusError


def write_manifest(corpus: Corpus, out: Path) -> Path:
    """Write `out`/manifest.jsonl, and return its path.

    Raises:
        CorpusError: If it exists, or if the audio is not in files.
    """
    manifest = _free_manifest(out)
    for utterance in corpus.all_utterances():
        if not utterance.audio.is_file():
            raise CorpusError(
                f"{corpus.name}: the audio of {utterance.id!r} is no file ({utterance.audio}), and a "
                "manifest names files; write files with `murmur corpus prepare --flac`, and use those."
            )
    out.mkdir(parents=True, exist_ok=True)
    with replacing(manifest) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        for utterance in corpus.all_utterances():
            file.write(json.dumps(_line(utterance, corpus.language, out), ensure_ascii=False) + "\n")
    return manifest


def convert(
    corpus: Corpus, out: Path, *, workers: int = 1, progress: Callable[[], None] = lambda: None
) -> Corpus:
    """Convert all audio to FLAC at 16 kHz under `out`/audio; skip what cannot be decoded.

    Args:
        corpus: The source.
        out: The folder to write to.
        workers: The number of processes.
        progress: Called after every utterance.

    Returns:
        The converted corpus.

    Raises:
        CorpusError: If no utterance can be decoded, or if `out` has a manifest.
        OSError: If the disk is full.
    """
    _free_manifest(out)
    (out / "audio").mkdir(parents=True, exist_ok=True)
    converted: list[Utterance] = []
    skipped = list(corpus.skipped)
    for result in _converted(corpus, out, workers):
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
        alphabet=corpus.alphabet,
        mapped=(kept for kept in corpus.mapped if kept.source not in lost),
    )


def _free_manifest(out: Path) -> Path:
    manifest = out / MANIFEST_NAME
    if manifest.exists():
        raise CorpusError(f"{manifest} exists; give another folder, or remove it.")
    return manifest


def _converted(corpus: Corpus, out: Path, workers: int) -> Iterator[Utterance | Skipped]:
    # Workers get the corpus only if it makes its own sound: the table of a corpus of files is large.
    of_files = type(corpus).recording is Corpus.recording
    convert = partial(_convert, out, Recording.read if of_files else corpus.recording)
    # Neighbours are often in one file, which is decoded once.
    files = [list(group) for _, group in groupby(corpus.all_utterances(), key=attrgetter("audio"))]
    if workers == 1:
        yield from chain.from_iterable(map(convert, files))
        return
    # A process with threads of torch must not be forked.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from chain.from_iterable(pool.map(convert, files, chunksize=16))


def _convert(
    out: Path, read: Callable[[Path], Recording], utterances: list[Utterance]
) -> list[Utterance | Skipped]:
    """Convert the utterances of one recording, which is read if any of them is missing."""
    recording: Recording | None = None
    converted: list[Utterance | Skipped] = []
    for utterance in utterances:
        file = _converted_file(out, utterance)
        try:
            if not file.is_file():
                recording = recording or read(utterance.audio)
                wave = recording.segment(utterance.offset_seconds, utterance.duration_seconds)
                file.parent.mkdir(exist_ok=True)
                unfinished = file.with_name(f".{file.stem}.{os.getpid()}.part")
                _write(unfinished, wave.numpy())
                unfinished.replace(file)
            seconds = soundfile.info(file).duration
            converted.append(replace(utterance, audio=file, offset_seconds=0.0, duration_seconds=seconds))
        except AudioError as error:
            skipped = Skipped(
                source=utterance.source, reason=str(error), split=utterance.split, speaker=utterance.speaker
            )
            converted.append(skipped)
    return converted


def _converted_file(out: Path, utterance: Utterance) -> Path:
    """Name the file by a hash of its sound, in one of 256 folders: large folders are slow."""
    name = hashlib.sha256(json.dumps(utterance.identity()).encode()).hexdigest()[:32]
    return out / "audio" / name[:2] / f"{name}.flac"


def _write(file: Path, samples: np.ndarray) -> None:
    try:
        soundfile.write(file, samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    except soundfile.LibsndfileError as error:
        file.unlink(missing_ok=True)
        raise OSError(f"{file}: cannot be written ({error}); is the disk full?") from None


def _line(utterance: Utterance, language: str, out: Path) -> dict[str, Any]:
    audio, folder = utterance.audio.absolute(), out.absolute()
    inside = audio.is_relative_to(folder)
    line: dict[str, Any] = {
        "audio_filepath": str(audio.relative_to(folder) if inside else audio),
        "text": utterance.text,
        "speaker": utterance.speaker,
        "split": utterance.split,
        "id": utterance.id,
        "lang": language,
    }
    if utterance.written and utterance.written != utterance.text:
        line["written"] = utterance.written
    if utterance.duration_seconds is not None:
        line["duration"] = round(utterance.duration_seconds, 6)
    if utterance.offset_seconds:
        line["offset"] = utterance.offset_seconds
    return dict(utterance.fields) | line
