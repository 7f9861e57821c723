"""Neighbouring data sets: the kinds of one person's speech, and how two data sets can be neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from audit.manifests import RATE_HZ, Speech, Utterance, Wave, ordinary_speech, tone


class Adjacency(Enum):
    """Zero-out: the person is in the population and adds zero. Add or remove: N differs by one."""

    ZERO_OUT = "zero-out"
    ADD_OR_REMOVE = "add-or-remove"


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """One kind of speech of a person, to compare with the same person who adds zero.

    Args:
        name: the kind's name.
        speech: makes the speech.
        adjacency: how the two data sets differ.
        counts_as_zero: whether the person must add zero with this speech too.
        files_go: whether the files are deleted after registration.
    """

    name: str
    speech: Callable[[], Speech]
    adjacency: Adjacency = Adjacency.ZERO_OUT
    counts_as_zero: bool = False
    files_go: bool = False


NEIGHBOURS: dict[str, Neighbour] = {}


def neighbour(
    name: str, adjacency: Adjacency = Adjacency.ZERO_OUT, **how: bool
) -> Callable[[Callable[[], Speech]], Callable[[], Speech]]:
    """A decorator that registers a kind of speech under a name."""

    def register(speech: Callable[[], Speech]) -> Callable[[], Speech]:
        if name in NEIGHBOURS:
            raise ValueError(f"the neighbour {name!r} is registered already; choose another name")
        NEIGHBOURS[name] = Neighbour(name=name, speech=speech, adjacency=adjacency, **how)
        return speech

    return register


def _ordinary() -> list[Utterance]:
    return ordinary_speech(7)


def _with_wave(change: Callable[[Wave], Wave], **fields: object) -> list[Utterance]:
    """Ordinary words with changed audio."""
    return [
        replace(one, wave=change(one.wave), **fields)  # type: ignore[arg-type]
        for one in _ordinary()
        if one.wave is not None
    ]


def _with_text(text: str) -> list[Utterance]:
    return [replace(one, text=text) for one in _ordinary()]


def _filled(value: float) -> Callable[[Wave], Wave]:
    return lambda wave: np.full_like(wave, value)


neighbour("ordinary speech")(_ordinary)


@neighbour("sound of NaN", counts_as_zero=True)
def _nan() -> Speech:
    return _with_wave(_filled(np.nan), subtype="FLOAT")


@neighbour("sound of infinity", counts_as_zero=True)
def _infinite() -> Speech:
    return _with_wave(_filled(np.inf), subtype="FLOAT")


@neighbour("sound of 1e30")
def _huge() -> Speech:
    return _with_wave(lambda wave: (wave * np.float32(1e30)).astype(np.float32), subtype="FLOAT")


@neighbour("digital silence")
def _silence() -> Speech:
    return _with_wave(_filled(0.0))


@neighbour("a file without a sample", counts_as_zero=True)
def _no_sample() -> Speech:
    return _with_wave(lambda wave: wave[:0])


@neighbour("an empty file", counts_as_zero=True)
def _empty() -> Speech:
    return [Utterance(text="one two", content=b"", duration=1.0)]


@neighbour("one sample")
def _one_sample() -> Speech:
    return _with_wave(lambda wave: wave[:1], duration=1 / RATE_HZ)


@neighbour("not an audio file", counts_as_zero=True)
def _not_audio() -> Speech:
    return [Utterance(text="one two", content=b"this is no sound", duration=1.0)]


@neighbour("a file that is cut off", counts_as_zero=True)
def _cut_off() -> Speech:
    return [Utterance(text="one two", content=b"RIFF\xff\xff\xff\x00WAVEfmt ", duration=1.0)]


@neighbour("files that go after registration", counts_as_zero=True, files_go=True)
def _gone() -> Speech:
    return _ordinary()


@neighbour("missing files", Adjacency.ADD_OR_REMOVE, counts_as_zero=True)
def _missing() -> Speech:
    return [Utterance(text="one two", duration=1.0)]


@neighbour("unreadable files without a length", Adjacency.ADD_OR_REMOVE, counts_as_zero=True)
def _unmeasured() -> Speech:
    return [Utterance(text="one two", content=b"this is no sound")]


@neighbour("empty transcripts", Adjacency.ADD_OR_REMOVE, counts_as_zero=True)
def _no_text() -> Speech:
    return _with_text("")


@neighbour("foreign transcripts", Adjacency.ADD_OR_REMOVE, counts_as_zero=True)
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
    one = Utterance(text="a", wave=wave, duration=len(wave) / RATE_HZ, file="again.wav")
    return [replace(one, id=f"again-{number}") for number in range(400)]


@neighbour("an id twice")
def _id_twice() -> Speech:
    return [replace(one, id="the same") for one in _ordinary()]


@neighbour("two speakers under one name")
def _two_speakers() -> Speech:
    return [
        *_ordinary(),
        *(replace(one, file=f"other-{n}.wav") for n, one in enumerate(ordinary_speech(8))),
    ]


@neighbour("a long recording")
def _long() -> Speech:
    wave = np.tile(tone("one two three", 3), 40)[: 29 * RATE_HZ]
    return [Utterance(text="one two three", wave=wave, duration=29.0)]


@neighbour("a recording longer than the limit", Adjacency.ADD_OR_REMOVE, counts_as_zero=True)
def _too_long() -> Speech:
    return [Utterance(text="one two three", wave=np.zeros(31 * RATE_HZ, dtype=np.float32))]


@neighbour("one second of ten minutes")
def _part_of_a_long_file() -> Speech:
    wave = np.tile(tone("one two three", 3), 850)[: 601 * RATE_HZ]
    return [Utterance(text="one two", wave=wave, duration=1.0, offset=590.0)]


@neighbour("an odd sample rate")
def _odd_rate() -> Speech:
    return _with_wave(lambda wave: wave, rate_hz=15_991)


@neighbour("the highest sample rate")
def _high_rate() -> Speech:
    return _with_wave(lambda wave: wave, rate_hz=655_350, duration=0.001)
