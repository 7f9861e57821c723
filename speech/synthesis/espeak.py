"""The caller's side of the speaking process: one process per virtual speaker, all it says at once.

A process of its own makes a speaker independent of who spoke before it (see the worker), and keeps
espeak-ng out of this one.
"""

import io
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speech.errors import SpeechError
from speech.synthesis.voices import VirtualSpeaker

WORKER = "speech.synthesis.espeak_worker"
TIMEOUT_SECONDS = 300.0
_ROOT = Path(__file__).resolve().parents[2]


class SynthesisError(SpeechError):
    """espeak-ng cannot be started, or cannot say what it is given."""


def say(speaker: VirtualSpeaker, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.float64], int]]:
    """For each text, (n,) samples in [-1, 1] and their rate in Hz. Raises `SynthesisError`."""
    answers = io.BytesIO(_answers(speaker, texts))
    for text in texts:
        header = json.loads(answers.readline() or '{"error": "espeak-ng stopped"}')
        if "error" in header:
            raise SynthesisError(
                f"speaker {speaker.name} cannot say {text!r}: {header['error']} (espeak-ng comes "
                "with the extra 'synthesis': pip install 'murmuration[synthesis]')"
            )
        pcm = np.frombuffer(answers.read(2 * header["samples"]), dtype="<i2")
        yield pcm.astype(np.float64) / 32768.0, int(header["sample_rate_hz"])


def _answers(speaker: VirtualSpeaker, texts: Sequence[str]) -> bytes:
    """What the worker writes, start to end."""
    voice = {
        "voice": speaker.voice,
        "rate": speaker.rate_words_per_minute,
        "pitch": speaker.pitch,
    }
    requests = "".join(json.dumps({**voice, "text": text}) + "\n" for text in texts)
    try:
        # espeak-ng prints harmless remarks on every voice; errors come back as answers.
        return subprocess.run(
            [sys.executable, "-m", WORKER],
            input=requests.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=_ROOT,
            timeout=TIMEOUT_SECONDS,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired as error:
        raise SynthesisError(
            f"speaker {speaker.name}: espeak-ng took more than {TIMEOUT_SECONDS:g} s."
        ) from error
