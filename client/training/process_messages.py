"""What the process of the speakers may say to its parent: a few numbers and a line of text, and no objects.

That process decodes sound files, which anybody may have made. Were it taken over, whatever it sends must not
become more than a wrong number in the parent, which holds the node's sum: so nothing here is unpickled. An
answer is one frame of `FRAME_BYTES` bytes with a fixed meaning.

Guarantee: `decode` makes of any `FRAME_BYTES` bytes a message of a few hundred bytes, or raises `ValueError`.
It calls no code that the sender chose: an error is one of `ERRORS`, made from a text.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from recipes import ConfigError
from speech import errors as speech_errors

_FRAME = struct.Struct("!BdQH1000s")  # kind, a float, a count, bytes of text, the text padded with zeros
FRAME_BYTES = _FRAME.size
"""Less than a pipe takes in one piece (`PIPE_BUF`)."""
_LONGEST_TEXT = 1000
_READY, _TRAINED, _NOTHING, _FAILED = range(4)

ERRORS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        *(ConfigError, ValueError, RuntimeError, MemoryError, OSError, FileNotFoundError, PermissionError),
        *(speech_errors.SpeechError, speech_errors.CorpusError, speech_errors.CheckpointMismatch),
        *(speech_errors.AudioError, speech_errors.AudioUnavailable),
    )
}
"""The errors that keep their kind on the way; of any other the parent gets a `RuntimeError` that names it."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What a process says when it can be asked: the digest of what is not trained, and how many seconds of a
    processor the longest visit that is allowed takes."""

    frozen: str
    longest_seconds: float


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a visit says beside the update: the mean loss, and the number of steps."""

    loss: float
    steps: int


@dataclass(frozen=True, kw_only=True)
class Failed:
    """What kept a process from starting."""

    error: Exception


Said = Ready | Trained | Failed | None
"""One answer; None of a visit that went wrong."""


def encode(said: Said) -> bytes:
    """The frame of an answer. A text that is too long loses its end."""
    if said is None:
        return _frame(_NOTHING)
    if isinstance(said, Ready):
        return _frame(_READY, number=said.longest_seconds, text=said.frozen)
    if isinstance(said, Trained):
        return _frame(_TRAINED, number=said.loss, count=said.steps)
    kind = type(said.error).__name__
    if ERRORS.get(kind) is type(said.error):
        return _frame(_FAILED, text=f"{kind}:{said.error}")
    return _frame(_FAILED, text=f"RuntimeError:{kind}: {said.error}")


def decode(frame: bytes) -> Said:
    """The answer in a frame. Raises `ValueError` for what is none."""
    if len(frame) != FRAME_BYTES:
        raise ValueError(f"a frame of {len(frame)} bytes, expected are {FRAME_BYTES}")
    kind, number, count, length, padded = _FRAME.unpack(frame)
    if length > _LONGEST_TEXT:
        raise ValueError(f"a frame that promises {length} bytes of text")
    text = padded[:length].decode(errors="replace")
    if kind == _NOTHING:
        return None
    if kind == _READY:
        return Ready(frozen=text, longest_seconds=number)
    if kind == _TRAINED:
        return Trained(loss=number, steps=count)
    if kind == _FAILED:
        name, _, words = text.partition(":")
        return Failed(error=ERRORS.get(name, RuntimeError)(words))
    raise ValueError(f"a frame of kind {kind}")


def _frame(kind: int, *, number: float = 0.0, count: int = 0, text: str = "") -> bytes:
    written = text.encode(errors="replace")[:_LONGEST_TEXT]
    return _FRAME.pack(kind, number, count, len(written), written)
