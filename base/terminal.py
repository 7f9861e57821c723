"""Whether a person looks at a stream: then there may be colours, bars and lines that change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

DUMB = ("", "dumb", "unknown")
OFF = ("", "0", "false")


def is_interactive(stream: IO[Any] | None, environ: Mapping[str, str]) -> bool:
    """Whether `stream` is a terminal that can move its cursor, and no CI service has it.

    Example:
        >>> import io
        >>> is_interactive(io.StringIO(), {"TERM": "xterm"})
        False
    """
    if environ.get("TERM", "") in DUMB or environ.get("CI", "").lower() not in OFF:
        return False
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False


def takes_unicode(stream: IO[Any]) -> bool:
    """Whether the encoding of `stream` has block and braille characters."""
    return str(getattr(stream, "encoding", "") or "").lower().replace("-", "") in ("utf8", "utf16", "utf32")
