"""The espeak-ng process, `python -m speech.synthesis.espeak_worker`: requests in, PCM out.

espeak-ng is GPL software, so Murmuration's own processes never load it. This process loads it (from the PyPI
package `espeakng-loader`), lives as long as its stdin, and exchanges only text and sound with its caller.

A request is a line of JSON: {"voice", "rate", "pitch", "texts"}. The voice is espeak's "language+variant",
the rate is words per minute (80 to 450), and the pitch is 0 to 99. The answer for each text is a line of
JSON, either {"sample_rate_hz", "samples"} followed by that many little-endian int16, or {"error"}.

espeak-ng keeps state from one utterance to the next, and ignores a second initialisation. So a fork of this
process, as it was after its start, answers each request.

Guarantee: a request gives the same sound after any other requests.
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
    """espeak-ng in this process, with its sound in memory.

    Example:
        >>> espeak = Espeak()  # doctest: +SKIP
        >>> len(espeak.say(voice="en-us+m1", rate=160, pitch=50, text="hello")) > 0  # doctest: +SKIP
        True
    """

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
        # Kept on the object: ctypes does not keep a callback alive that C uses.
        self._callback = _CALLBACK(self._take)
        self._library.espeak_SetSynthCallback(self._callback)
        # espeak-ng reads 280 voice files when a voice is first named: here once, and not in every fork.
        self._library.espeak_ListVoices(None)

    def say(self, *, voice: str, rate: int, pitch: int, text: str) -> bytes:
        """Synthesise a text to int16 PCM.

        Raises:
            ValueError: If espeak-ng refuses.
        """
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
    """Yield the header and the PCM of each text of a request."""
    try:
        settings = json.loads(request)
        texts = settings.pop("texts")
    except (AttributeError, KeyError, ValueError) as error:
        yield {"error": f"no request: {error!r}"}, b""
        return
    for text in texts:
        try:
            pcm = espeak.say(**settings, text=text)
        except (TypeError, ValueError) as error:
            yield {"error": str(error)}, b""
            continue
        samples = array.array("h", pcm)
        if sys.byteorder == "big":
            samples.byteswap()
        yield {"sample_rate_hz": espeak.sample_rate_hz, "samples": len(samples)}, samples.tobytes()


def main() -> None:
    """Answer requests until stdin ends; if espeak-ng cannot start, answer with the reason."""
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
    """Answer in the fork, and exit without the clean-up of the parent."""
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
