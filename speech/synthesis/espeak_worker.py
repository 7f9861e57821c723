"""A speaking process: `python -m speech.synthesis.espeak_worker`, requests in, PCM out.

espeak-ng is GPL software. It is therefore never loaded into Murmuration's own processes: this one
loads it (from the PyPI package `espeakng-loader`), lives as long as its
stdin, and shares nothing with its caller but text and sound.

A request is a line of JSON: {"voice", "rate", "pitch", "texts"}, where voice is espeak's
"language+variant", rate is words per minute (80 to 450) and pitch is 0 to 99. The answer is, for each
text, a line of JSON, {"sample_rate_hz", "samples"} followed by that many little-endian int16, or
{"error"}.

espeak-ng carries state from one utterance to the next (and ignores being re-initialised). So every
request is answered by a fork of this process, as it was after its start: a request gives the same
sound whatever was asked before it.
"""

import array
import ctypes
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

# From espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_RATE, _PITCH = 1, 3
_POSITION_CHARACTER = 1
_CHARS_UTF8 = 1
_BUFFER_MILLISECONDS = 200
_RANDOM_SEED = 1
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """espeak-ng in this process, speaking into memory."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(espeakng_loader.get_data_path()).encode()
        self.sample_rate_hz = int(
            self._library.espeak_Initialize(
                _AUDIO_OUTPUT_SYNCHRONOUS, _BUFFER_MILLISECONDS, data, _INITIALIZE_DONT_EXIT
            )
        )
        if self.sample_rate_hz <= 0:
            raise OSError(f"espeak-ng cannot start with its data in {data.decode()}.")
        self._pieces: list[bytes] = []
        # Kept on the object: ctypes does not hold on to a callback that C holds.
        self._callback = _CALLBACK(self._take)
        self._library.espeak_SetSynthCallback(self._callback)
        # espeak-ng looks through 280 voice files when a voice is first named: once here, not in every fork.
        self._library.espeak_ListVoices(None)

    def say(self, *, voice: str, rate: int, pitch: int, text: str) -> bytes:
        """The text as int16 PCM. Raises `ValueError` where espeak-ng refuses."""
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}.")
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(_RANDOM_SEED))
        self._library.espeak_SetParameter(_RATE, rate, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        self._pieces = []
        encoded = text.encode()
        failed = self._library.espeak_Synth(
            encoded, len(encoded) + 1, 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None
        )
        if failed or not self._pieces:
            raise ValueError(f"espeak-ng cannot say {text!r} (status {failed}).")
        return b"".join(self._pieces)

    def _take(self, samples: Any, count: int, events: Any) -> int:
        if count > 0 and samples:
            self._pieces.append(ctypes.string_at(samples, 2 * count))
        return 0


def answers(espeak: Espeak, request: str) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The header and the PCM of each text of one request."""
    try:
        asked = json.loads(request)
        texts = asked.pop("texts")
    except (AttributeError, KeyError, ValueError) as error:
        yield {"error": f"no request: {error!r}"}, b""
        return
    for text in texts:
        try:
            pcm = espeak.say(**asked, text=text)
        except (TypeError, ValueError) as error:
            yield {"error": str(error)}, b""
            continue
        samples = array.array("h", pcm)
        if sys.byteorder == "big":
            samples.byteswap()
        yield {"sample_rate_hz": espeak.sample_rate_hz, "samples": len(samples)}, samples.tobytes()


def main() -> None:
    """Answer requests until stdin ends; an espeak-ng that cannot start answers with the reason."""
    try:
        espeak = Espeak()
    except (ImportError, OSError) as error:
        _write({"error": f"espeak-ng cannot start: {error}"}, b"")
        return
    for request in sys.stdin:
        child = os.fork()
        if child == 0:
            _answer_and_end(espeak, request)
        _, status = os.waitpid(child, 0)
        if status:
            sys.exit(f"espeak-ng ended with status {status}")


def _answer_and_end(espeak: Espeak, request: str) -> None:
    """In the fork: answer, and leave without the parent's clean-up."""
    status = 1
    try:
        for header, pcm in answers(espeak, request):
            _write(header, pcm)
        status = 0
    finally:
        os._exit(status)


def _write(header: dict[str, Any], pcm: bytes) -> None:
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + pcm)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
