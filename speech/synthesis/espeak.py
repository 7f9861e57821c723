"""The client of the espeak-ng process: one for each process of ours, for any number of speakers.

It starts with the first speaker and ends with its caller.

Guarantees: the sound of a speaker does not depend on earlier speakers (see the worker), and espeak-ng is
never loaded into this process.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from speech.errors import SpeechError
from speech.synthesis.voices import VirtualSpeaker

WORKER = "speech.synthesis.espeak_worker"
TIMEOUT_SECONDS = 300.0
_ROOT = Path(__file__).resolve().parents[2]


class SynthesisError(SpeechError):
    """espeak-ng cannot start, or cannot synthesise a text.

    Example:
        >>> issubclass(SynthesisError, SpeechError)
        True
    """


def say(speaker: VirtualSpeaker, texts: Sequence[str]) -> list[tuple[NDArray[np.float64], int]]:
    """Synthesise texts: for each, (n,) samples in [-1, 1] and their rate in Hz.

    Raises:
        SynthesisError: If espeak-ng refuses.
    """
    return list(_worker(os.getpid()).say(speaker, texts))


class _Worker:
    """A process of espeak-ng. A fault ends it, and the next speaker starts another one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def say(self, speaker: VirtualSpeaker, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.float64], int]]:
        with self._lock:
            process = self._running()
            watch = threading.Timer(TIMEOUT_SECONDS, process.kill)
            watch.start()
            try:
                yield from self._answers(process, speaker, texts)
            except BaseException:
                self._end()
                raise
            finally:
                watch.cancel()

    def _answers(
        self, process: subprocess.Popen[bytes], speaker: VirtualSpeaker, texts: Sequence[str]
    ) -> Iterator[tuple[NDArray[np.float64], int]]:
        requests, answers = _pipes(process)
        try:
            requests.write(_request(speaker, texts))
            requests.flush()
        except BrokenPipeError:
            pass  # it ended; its last answer, if any, is read below
        for text in texts:
            header = json.loads(answers.readline() or '{"error": "espeak-ng stopped"}')
            if "error" in header:
                raise SynthesisError(
                    f"speaker {speaker.name} cannot say {text!r}: {header['error']} (espeak-ng comes "
                    "with murmuration: pip install espeakng-loader)"
                )
            pcm = np.frombuffer(answers.read(2 * header["samples"]), dtype="<i2")
            yield pcm.astype(np.float64) / 32768.0, int(header["sample_rate_hz"])

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # espeak-ng prints harmless warnings for every voice; errors come as answers.
                stderr=subprocess.DEVNULL,
                cwd=_ROOT,
            )
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@lru_cache(maxsize=1)
def _worker(process_id: int) -> _Worker:
    """Return the worker of this process: a fork must not use its parent's."""
    return _Worker()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None and process.stdout is not None  # noqa: S101  both are PIPE
    return process.stdin, process.stdout


def _request(speaker: VirtualSpeaker, texts: Sequence[str]) -> bytes:
    request = {
        "voice": speaker.voice,
        "rate": speaker.rate_words_per_minute,
        "pitch": speaker.pitch,
        "texts": list(texts),
    }
    return (json.dumps(request) + "\n").encode()
