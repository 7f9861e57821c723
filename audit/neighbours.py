"""Neighbouring data sets: what one person can be, and in which sense the two sets are neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from audit.manifests import RATE_HZ, Said, Speech, Wave, ordinary_speech, tone


class Adjacency(Enum):
    """Zero-out: the person is there and counts as nothing. Add or remove: N differs by one."""

    ZERO_OUT = "zero-out"
    ADD_OR_REMOVE = "add-or-remove"


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """What one person's speech can be, beside the same person who counts as nothing.

    `still` says that with this speech too the person must count as nothing at all; `files_go` that the files
    go away after registration.
    """

    name: str
    speech: Callable[[], Speech]
    adjacency: Adjacency = Adjacency.ZERO_OUT
    still: bool = False
    files_go: bool = False


NEIGHBOURS: dict[str, Neighbour] = {}


def neighbour(
    name: str, adjacency: Adjacency = Adjacency.ZERO_OUT, **how: bool
) -> Callable[[Callable[[], Speech]], Callable[[], Speech]]:
    """Register what a person's speech can be under a name."""

    def register(speech: Callable[[], Speech]) -> Callable[[], Speech]:
        if name in NEIGHBOURS:
            raise ValueError(f"the neighbour {name!r} is registered already; choose another name")
        NEIGHBOURS[name] = Neighbour(name=name, speech=speech, adjacency=adjacency, **how)
        return speech

    return register


def _ordinary() -> list[Said]:
    return ordinary_speech(7)


def _with_wave(change: Callable[[Wave], Wave], **fields: object) -> list[Said]:
    """Ordinary words, and a sound that was changed."""
    return [
        replace(said, wave=change(said.wave), **fields)  # type: ignore[arg-type]
        for said in _ordinary()
        if said.wave is not None
    ]


def _with_text(text: str) -> list[Said]:
    return [replace(said, text=text) for said in _ordinary()]


def _filled(value: float) -> Callable[[Wave], Wave]:
    return lambda wave: np.full_like(wave, value)


neighbour("ordinary speech")(_ordinary)


@neighbour("sound of NaN", still=True)
def _nan() -> Speech:
    return _with_wave(_filled(np.nan), subtype="FLOAT")


@neighbour("sound of infinity", still=True)
def _infinite() -> Speech:
    return _with_wave(_filled(np.inf), subtype="FLOAT")


@neighbour("sound of 1e30")
def _huge() -> Speech:
    return _with_wave(lambda wave: (wave * np.float32(1e30)).astype(np.float32), subtype="FLOAT")


@neighbour("digital silence")
def _silence() -> Speech:
    return _with_wave(_filled(0.0))


@neighbour("a file without a sample", still=True)
def _no_sample() -> Speech:
    return _with_wave(lambda wave: wave[:0])


@neighbour("an empty file", still=True)
def _empty() -> Speech:
    return [Said(text="one two", content=b"", duration=1.0)]


@neighbour("one sample")
def _one_sample() -> Speech:
    return _with_wave(lambda wave: wave[:1], duration=1 / RATE_HZ)


@neighbour("no sound file at all", still=True)
def _not_audio() -> Speech:
    return [Said(text="one two", content=b"this is no sound", duration=1.0)]


@neighbour("a file that is cut off", still=True)
def _cut_off() -> Speech:
    return [Said(text="one two", content=b"RIFF\xff\xff\xff\x00WAVEfmt ", duration=1.0)]


@neighbour("files that go after registration", still=True, files_go=True)
def _gone() -> Speech:
    return _ordinary()


@neighbour("missing files", Adjacency.ADD_OR_REMOVE, still=True)
def _missing() -> Speech:
    return [Said(text="one two", duration=1.0)]


@neighbour("unreadable files without a length", Adjacency.ADD_OR_REMOVE, still=True)
def _unmeasured() -> Speech:
    return [Said(text="one two", content=b"this is no sound")]


@neighbour("empty transcripts", Adjacency.ADD_OR_REMOVE, still=True)
def _no_text() -> Speech:
    return _with_text("")


@neighbour("foreign transcripts", Adjacency.ADD_OR_REMOVE, still=True)
def _foreign_text() -> Speech:
    return _with_text("42 \u4e00\u4e8c\u4e09")


@neighbour("a transcript of 100,000 letters")
def _long_text() -> Speech:
    return [*_with_text("so much to say " * 6_700)[:1], *_ordinary()[1:]]


@neighbour("one letter a transcript")
def _short_text() -> Speech:
    return _with_text("a")


@neighbour("ten times the utterances")
def _ten_times() -> Speech:
    return ordinary_speech(7, utterances=30)


@neighbour("400 times the utterances")
def _four_hundred_times() -> Speech:
    wave = tone("a", 7)
    said = Said(text="a", wave=wave, duration=len(wave) / RATE_HZ, file="again.wav")
    return [replace(said, id=f"again-{number}") for number in range(400)]


@neighbour("an id twice")
def _id_twice() -> Speech:
    return [replace(said, id="the same") for said in _ordinary()]


@neighbour("two people under one name")
def _two_people() -> Speech:
    return [
        *_ordinary(),
        *(replace(said, file=f"other-{n}.wav") for n, said in enumerate(ordinary_speech(8))),
    ]


@neighbour("a long recording")
def _long() -> Speech:
    wave = np.tile(tone("one two three", 3), 40)[: 29 * RATE_HZ]
    return [Said(text="one two three", wave=wave, duration=29.0)]


@neighbour("a recording longer than may be", Adjacency.ADD_OR_REMOVE, still=True)
def _too_long() -> Speech:
    return [Said(text="one two three", wave=np.zeros(31 * RATE_HZ, dtype=np.float32))]


@neighbour("one second of ten minutes")
def _part_of_a_long_file() -> Speech:
    wave = np.tile(tone("one two three", 3), 850)[: 601 * RATE_HZ]
    return [Said(text="one two", wave=wave, duration=1.0, offset=590.0)]


@neighbour("an odd sample rate")
def _odd_rate() -> Speech:
    return _with_wave(lambda wave: wave, rate_hz=15_991)


@neighbour("the highest sample rate")
def _high_rate() -> Speech:
    return _with_wave(lambda wave: wave, rate_hz=655_350, duration=0.001)
