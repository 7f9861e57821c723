"""Writes a synthetic corpus: an Ogg Opus file for each speaker, a manifest, and its description.

The file of a speaker has all utterances in sequence; the manifest has the `offset` and `duration` of each.

Guarantee: the seed determines samples, texts and manifest. It does not determine the bytes of the Ogg files,
whose stream numbers are random, but the samples that they decode to.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from speech.synthesis.effects import SAMPLE_RATE_HZ, Wave, render
from speech.synthesis.espeak import say
from speech.synthesis.grammar import SentenceDrawer
from speech.synthesis.plan import DEFAULT_SEED, EMBEDDED_PLAN, SplitPlan
from speech.synthesis.voices import VirtualSpeaker, generator

# libsndfile maps 1 to 6 kbit/s and 0 to 256: this is about 15 kbit/s, wide band.
COMPRESSION_LEVEL = 0.965

Job = tuple[SplitPlan, int]
# The manifest lines of a speaker, and its settings.
Made = tuple[list[str], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """All utterances of a speaker: the recording, and (text, first sample, samples) of each part.

    Example:
        >>> from speech.synthesis.voices import HARD
        >>> ann = VirtualSpeaker.draw("ann", HARD, generator(1, "ann"))
        >>> Spoken(speaker=ann, samples=np.zeros(320), parts=(("hello", 0, 320),)).parts[0][0]
        'hello'
    """

    speaker: VirtualSpeaker
    samples: Wave
    parts: tuple[tuple[str, int, int], ...]


def speak(plan: SplitPlan, number: int, seed: int) -> Spoken:
    """Draw speaker `number` of a split, and synthesise its sentences."""
    name = f"{plan.name}-{number:03d}"
    speaker = VirtualSpeaker.draw(name, plan.domain, generator(seed, name, "voice"))
    texts = SentenceDrawer(held_out=plan.held_out).draw(plan.utterances, generator(seed, name, "sentences"))
    random = generator(seed, name, "effects")
    waves = [render(dry, rate_hz, speaker, random) for dry, rate_hz in say(speaker, texts)]
    starts = np.cumsum([0, *map(len, waves)])
    parts = tuple((t, int(s), len(w)) for t, s, w in zip(texts, starts, waves, strict=False))
    return Spoken(speaker=speaker, samples=np.asarray(np.concatenate(waves)), parts=parts)


def write_corpus(
    out: Path,
    *,
    seed: int = DEFAULT_SEED,
    plans: Iterable[SplitPlan] = EMBEDDED_PLAN,
    workers: int = 1,
    progress: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """Make the whole corpus in the folder `out`, and return its description (`corpus.json`).

    Args:
        out: A new or empty folder.
        seed: Determines the corpus.
        plans: The splits.
        workers: The number of processes.
        progress: Called with the name of each speaker.

    Raises:
        ValueError: If the folder is not empty.
    """
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out}: is not empty; give a new folder.")
    generator(seed)  # refuses an impossible seed before anything is written
    (out / "audio").mkdir(parents=True, exist_ok=True)
    plans = tuple(plans)
    jobs = [(plan, number) for plan in plans for number in range(plan.speakers)]
    lines: list[str] = []
    speakers: list[dict[str, Any]] = []
    made = _mapped(partial(_make_one, out, seed), jobs, workers)
    for (plan, _), (entries, voice) in zip(jobs, made, strict=True):
        lines += entries
        speakers.append({"split": plan.name, **voice})
        progress(voice["name"])
    (out / "manifest.jsonl").write_text("".join(lines), encoding="utf-8")
    description = _description(seed, plans, speakers)
    (out / "corpus.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    (out / "README.md").write_text(_README.format(seed=seed), encoding="utf-8")
    return description


def _mapped(function: Callable[[Job], Made], jobs: Iterable[Job], workers: int) -> Iterator[Made]:
    """Yield the results of the jobs in order, from this process or from others."""
    if workers == 1:
        yield from map(function, jobs)
        return
    # Spawned, not forked: the caller may have threads.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(function, jobs)


def _make_one(out: Path, seed: int, job: Job) -> Made:
    plan, number = job
    spoken = speak(plan, number, seed)
    name = f"audio/{spoken.speaker.name}.ogg"
    write_opus(out / name, spoken.samples)
    return list(_entries(plan.name, name, spoken)), asdict(spoken.speaker)


def _entries(split: str, file: str, spoken: Spoken) -> Iterable[str]:
    for number, (text, start, length) in enumerate(spoken.parts):
        entry = {
            "audio_filepath": file,
            "offset": round(start / SAMPLE_RATE_HZ, 6),
            "duration": round(length / SAMPLE_RATE_HZ, 6),
            "text": text,
            "speaker": spoken.speaker.name,
            "split": split,
            "id": f"{spoken.speaker.name}-{number:02d}",
        }
        yield json.dumps(entry) + "\n"


def write_opus(path: Path, samples: Wave) -> None:
    """Write 16 kHz mono Ogg Opus; a file that has its name is complete."""
    partial_path = path.with_suffix(".part")
    soundfile.write(
        partial_path,
        samples.astype(np.float32),
        SAMPLE_RATE_HZ,
        format="OGG",
        subtype="OPUS",
        compression_level=COMPRESSION_LEVEL,
    )
    os.replace(partial_path, path)


def _description(seed: int, plans: tuple[SplitPlan, ...], speakers: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": "murmuration-synthetic",
        "licence": "CC0-1.0",
        "origin": "texts and effects of our own, voices of espeak-ng; no recording of a person",
        "made_by": "murmur corpus synthesise",
        "seed": seed,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "encoding": f"Ogg Opus, libsndfile compression level {COMPRESSION_LEVEL}",
        "splits": {
            plan.name: {"speakers": plan.speakers, "utterances_each": plan.utterances} for plan in plans
        },
        "speakers": speakers,
    }


_README = """\
# Synthetic speakers

Made by Murmuration with espeak-ng, seed {seed}. No person was recorded, and the texts are our own.
Licence: CC0-1.0 (public domain).

- `manifest.jsonl`: one utterance per line, NeMo style (`audio_filepath`, `offset`, `duration`,
  `text`, `speaker`, `split`, `id`); a speaker's utterances lie one after another in its file.
- `audio/`: one file per speaker, 16 kHz mono Ogg Opus.
- `corpus.json`: every speaker's accent, voice, pitch, rate, room, noise and level.

`seed` and `seed-test` are the mild domain (two accents, little noise, no room) that the shipped seed
model learnt from; `train` and `test` are the hard one (seven accents, rooms, noise) that a
federation adapts it to. No speaker is in two splits, and `test` has only sentences that no other
split has.

To remake it: `murmur corpus synthesise --out DIR --seed {seed}`.
"""
