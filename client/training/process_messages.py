"""The reports of the speaker process to its parent: a few numbers and a line of text, and no objects.

The speaker process decodes sound files, which may come from any source. If a file takes it over, what it
sends must be no more than a wrong number to the parent, which holds the node's sum. So nothing here is
unpickled: a report is one frame of `FRAME_BYTES` bytes with a fixed meaning.

Guarantee: `decode` turns any `FRAME_BYTES` bytes into a report of about a thousand bytes at most, or raises
`ValueError`. It calls no code that the sender chose: an error is one of `ERRORS`, made from a text.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from speech import errors as speech_errors

# The number of the order, kind, a float, a count, bytes of text, the text padded with zeros.
_FRAME = struct.Struct("!QBdQH1000s")
FRAME_BYTES = _FRAME.size
"""Less than what a pipe takes in one piece (`PIPE_BUF`)."""
_LONGEST_TEXT = 1000
_READY, _TRAINED, _NOTHING, _FAILED = range(4)

ERRORS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        *(ValueError, RuntimeError, MemoryError, OSError, FileNotFoundError, PermissionError),
        *(speech_errors.SpeechError, speech_errors.CorpusError, speech_errors.CheckpointMismatch),
        *(speech_errors.AudioError, speech_errors.AudioUnavailable, speech_errors.ModelError),
    )
}
"""The errors that keep their type on the way; of any other the parent gets a `RuntimeError` with its name.

`ConfigError` is not among them: a node sends its text to the server (`client.answers`), and what this process
reports must stay on the node.
"""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The process waits for orders.

    `frozen` is the digest of the parameters that are not trained; `longest_seconds` are the processor seconds
    that a speaker with the maximum of speech takes here.
    """

    frozen: str
    longest_seconds: float


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A speaker was trained: the mean `loss` and the number of `steps`. The update is in shared memory."""

    loss: float
    steps: int


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The process could not start, because of this `error`."""

    error: Exception


Report = Ready | Trained | Failed | None
"""One report; None for a speaker whose training failed."""


def encode(report: Report, order: int = 0) -> bytes:
    """The frame of a report on the order of this number. A text that is too long loses its end."""
    if report is None:
        return _frame(order, _NOTHING)
    if isinstance(report, Ready):
        return _frame(order, _READY, number=report.longest_seconds, text=report.frozen)
    if isinstance(report, Trained):
        return _frame(order, _TRAINED, number=report.loss, count=report.steps)
    kind = type(report.error).__name__
    if ERRORS.get(kind) is type(report.error):
        return _frame(order, _FAILED, text=f"{kind}:{report.error}")
    return _frame(order, _FAILED, text=f"RuntimeError:{kind}: {report.error}")


def decode(frame: bytes, order: int = 0) -> Report:
    """The report in a frame. Raises `ValueError` if there is none on the order of this number."""
    if len(frame) != FRAME_BYTES:
        raise ValueError(f"a frame of {len(frame)} bytes, expected {FRAME_BYTES}")
    of_order, kind, number, count, length, padded = _FRAME.unpack(frame)
    if of_order != order:
        raise ValueError("a frame on another order than the last")
    if length > _LONGEST_TEXT:
        raise ValueError(f"a frame that announces {length} bytes of text")
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


def _frame(order: int, kind: int, *, number: float = 0.0, count: int = 0, text: str = "") -> bytes:
    written = text.encode(errors="replace")[:_LONGEST_TEXT]
    return _FRAME.pack(order, kind, number, count, len(written), written)
