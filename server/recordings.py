"""Whether two lists of utterances have recordings in common, by file and place in it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from functools import cache
from pathlib import Path

from speech.corpora.corpus import Utterance

_TOUCH_SECONDS = 0.01  # segments that follow each other overlap by less, by rounding


class Recordings:
    """The segments of sound files that some utterances are.

    A file is the same under another name that is a link to it, symbolic or hard; a copy is another file.

    Args:
        utterances: The utterances. A file that is not there is known by its path.

    Example:
        >>> def said(begin, seconds):
        ...     place = {"offset_seconds": begin, "duration_seconds": seconds, "source": "list:1"}
        ...     return Utterance(id="u", speaker="ann", split="a", audio=Path("a.wav"), text="yes", **place)
        >>> found = Recordings([said(2.0, 1.0), said(5.0, None)])
        >>> [found.have(said(begin, 1.0)) for begin in (1.0, 1.5, 3.0, 9.0)]
        [False, True, False, True]
    """

    def __init__(self, utterances: Iterable[Utterance]) -> None:
        self._real = cache(Path.resolve)  # a corpus has few folders and many files
        spans: dict[Hashable, list[tuple[float, float]]] = defaultdict(list)
        for one in utterances:
            for name in self._names(one.audio):
                spans[name].append(_span(one))
        self._spans = {name: list(_joined(of_file)) for name, of_file in spans.items()}

    def have(self, utterance: Utterance) -> bool:
        """Whether a part of the utterance's recording is in one of the segments."""
        begin, end = _span(utterance)
        for name in self._names(utterance.audio):
            spans = self._spans.get(name, ())
            after = bisect_right(spans, begin + _TOUCH_SECONDS, key=lambda span: span[1])
            if after < len(spans) and spans[after][0] + _TOUCH_SECONDS < end:
                return True
        return False

    def _names(self, file: Path) -> Iterator[Hashable]:
        yield self._real(file.parent) / file.name
        try:
            stat = file.stat()
        except OSError:
            return
        yield stat.st_dev, stat.st_ino


def _span(utterance: Utterance) -> tuple[float, float]:
    """Where the utterance begins and ends in its file, in seconds."""
    begin, length = utterance.offset_seconds, utterance.duration_seconds
    return begin, math.inf if length is None else begin + length


def _joined(spans: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """The spans in order, those that overlap as one."""
    held: tuple[float, float] | None = None
    for begin, end in sorted(spans):
        if held is not None and begin <= held[1]:
            held = held[0], max(held[1], end)
            continue
        if held is not None:
            yield held
        held = begin, end
    if held is not None:
        yield held
