"""Decoders that misbehave on files with certain names, planted once.

They are there before any node is made, so a process that a node forks has them too. What would end a whole
process does so in a forked one; in the tests' own it raises `NodeDied`, which no handler catches.
"""

import mmap
import os
import signal
import time
from dataclasses import replace

import numpy as np
import torch

from audit.manifests import ordinary_speech
from audit.neighbours import neighbour
from speech.audio import Recording
from speech.features.log_mel import LogMel
from speech.model.ctc_transformer import CTCTransformer

HOME = os.getpid()
BURNS_SECONDS = 2.0
TAKES_BYTES = 1 << 30
UNITS_A_SPEAKER = 120
"""Utterances read and batches trained that the imaginary round deadline has room for, a drawn speaker."""
LATE = 1_000_000


class NodeDied(BaseException):
    """What would have ended the node's whole process."""


class Work:
    """Work done, in this process and in those it forked: a clock that no other load on the machine moves."""

    def __init__(self) -> None:
        self._units = np.frombuffer(mmap.mmap(-1, 8), dtype=np.int64)

    def add(self, units: int) -> None:
        self._units[0] += units

    @property
    def late(self) -> bool:
        return bool(self._units[0] >= LATE)

    def since_last_asked(self) -> int:
        done, self._units[0] = int(self._units[0]), 0
        return done


WORK = Work()


def _die(how) -> None:
    if os.getpid() == HOME:
        raise NodeDied
    how()


def _exit() -> None:
    _die(lambda: os._exit(1))


def _crash() -> None:
    _die(lambda: os.kill(os.getpid(), signal.SIGSEGV))


def _burn() -> None:
    """In the tests' own process nothing is burnt: it has no bound, so it would be late."""
    burns = os.getpid() != HOME and not WORK.late
    end = time.process_time() + BURNS_SECONDS * burns
    while time.process_time() < end:
        sum(range(10_000))
    WORK.add(LATE)


def _take_memory() -> None:
    """In the tests' own process nothing is taken: it has no bound, so it would have died."""
    _die(lambda: np.ones(TAKES_BYTES, dtype=np.int8))
    WORK.add(LATE)  # it got the memory; the kernel would have ended the largest process


def _raise() -> None:
    raise RuntimeError("a fault of the decoder, with speech in it")


FAULTS = {"exits": _exit, "crashes": _crash, "burns": _burn, "takes": _take_memory, "raises": _raise}
WAVES = {"nan": float("nan"), "infinite": float("inf"), "vast": 1e30}


def plant(monkeypatch) -> None:
    """Plant the decoders, and count the work."""
    segment, log_mel, forward = Recording.segment, LogMel.__call__, CTCTransformer.forward

    def faulty(self, *args, **kwargs):
        word = self.path.name.partition("-")[0]
        if word in FAULTS:
            FAULTS[word]()
        wave = segment(self, *args, **kwargs)
        return torch.full_like(wave, WAVES[word]) if word in WAVES else wave

    def counted(of, units):
        def call(self, *args, **kwargs):
            WORK.add(units)
            return of(self, *args, **kwargs)

        return call

    monkeypatch.setattr(Recording, "segment", faulty)
    monkeypatch.setattr(LogMel, "__call__", counted(log_mel, 1))
    monkeypatch.setattr(CTCTransformer, "forward", counted(forward, 1))


def _file_named(word: str):
    def speech():
        return [replace(one, file=f"{word}-{n}.wav") for n, one in enumerate(ordinary_speech(7))]

    return speech


for name, word in {
    "a decoder that exits": "exits",
    "a decoder that crashes": "crashes",
    "a decoder that computes for ever": "burns",
    "a decoder that takes memory": "takes",
    "a decoder that raises": "raises",
    "a decoder that gives NaN": "nan",
    "a decoder that gives infinity": "infinite",
}.items():
    neighbour(name, counts_as_zero=word not in ("nan", "infinite"))(_file_named(word))
neighbour("a decoder that gives 1e30")(_file_named("vast"))


@neighbour("the ids of another speaker's utterances")
def _ids_of_another():
    """The speaker `d` has these ids, and comes after `c` in the manifest."""
    return [replace(one, id=f"d-{n}.wav") for n, one in enumerate(ordinary_speech(7))]
