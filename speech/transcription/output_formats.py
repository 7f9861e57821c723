"""Transcripts as files: plain text, JSON, SubRip subtitles (SRT) and NIST's time-marked words (CTM).

Times are rounded to milliseconds, and keep their order.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from speech.decoding import Word

# Limits of a subtitle: it must be readable on two lines, and not stay too long.
_CUE_CHARACTERS = 80
_CUE_LINE_CHARACTERS = 42
_CUE_SECONDS = 7.0


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """The transcript of one file: the words of each of its phrases, in order.

    Without `word_times` the times of a phrase are spread over its words.

    Example:
        >>> word = Word(text="hello", start_seconds=0.5, end_seconds=1.0, confidence=0.9)
        >>> transcript = Transcript(path=Path("call.wav"), phrases=[[word]])
        >>> print(as_ctm([transcript]), end="")
        call 1 0.500 0.500 hello 0.9000
    """

    path: Path
    phrases: Sequence[Sequence[Word]]
    word_times: bool = True

    @property
    def words(self) -> list[Word]:
        """All words, in order."""
        return list(chain.from_iterable(self.phrases))

    @property
    def text(self) -> str:
        """All words on one line."""
        return " ".join(word.text for word in self.words)


def as_text(transcripts: Iterable[Transcript]) -> str:
    """Return a line for each file: its path, a colon, its words."""
    return "".join(f"{transcript.path}: {transcript.text}\n" for transcript in transcripts)


def as_json(transcripts: Iterable[Transcript]) -> str:
    """Return an array with an object for each file: "file", "text", and "words" with times in seconds.

    "times" is there, and says so, where the times of phrases are spread over their words.
    """
    files = [
        {
            "file": str(transcript.path),
            "text": transcript.text,
            **({} if transcript.word_times else {"times": "spread over each phrase"}),
            "words": [
                {
                    "word": word.text,
                    "start": round(word.start_seconds, 3),
                    "end": round(word.end_seconds, 3),
                    "confidence": round(word.confidence, 4),
                }
                for word in transcript.words
            ],
        }
        for transcript in transcripts
    ]
    return json.dumps(files, ensure_ascii=False, indent=1) + "\n"


def as_srt(transcripts: Iterable[Transcript]) -> str:
    """Return numbered cues of one file. A cue is a phrase, or a part of one that fits on two lines.

    Raises:
        ValueError: For several files: the times of a subtitle file belong to one recording.
    """
    (transcript,) = transcripts
    cues = chain.from_iterable(map(_cues, transcript.phrases))
    return "".join(
        f"{number}\n{_clock(cue[0].start_seconds)} --> {_clock(cue[-1].end_seconds)}\n{_lines(cue)}\n\n"
        for number, cue in enumerate(cues, start=1)
    )


def as_ctm(transcripts: Iterable[Transcript]) -> str:
    """Return a line for each word, for sclite: recording, channel, start, duration, word, confidence."""
    words = ((transcript.path, word) for transcript in transcripts for word in transcript.words)
    return "".join(_ctm_line(path, word) for path, word in words)


FORMATS: dict[str, Callable[[Iterable[Transcript]], str]] = {
    "text": as_text,
    "json": as_json,
    "srt": as_srt,
    "ctm": as_ctm,
}
SUFFIXES = {"text": ".txt", "json": ".json", "srt": ".srt", "ctm": ".ctm"}


def ctm_name(path: Path) -> str:
    """Return the name of a recording in a CTM file, whose fields are separated by spaces."""
    return "_".join(path.stem.split())


def _ctm_line(path: Path, word: Word) -> str:
    start, end = round(1000 * word.start_seconds), round(1000 * word.end_seconds)
    times = f"{start / 1000:.3f} {(end - start) / 1000:.3f}"
    return f"{ctm_name(path)} 1 {times} {word.text} {word.confidence:.4f}\n"


def _cues(words: Sequence[Word]) -> list[list[Word]]:
    """Return the words of a phrase in as few cues as possible, filled from the first."""
    cues: list[list[Word]] = []
    for word in words:
        if cues and _fits([*cues[-1], word]):
            cues[-1].append(word)
        else:
            cues.append([word])
    return cues


def _fits(cue: Sequence[Word]) -> bool:
    seconds = cue[-1].end_seconds - cue[0].start_seconds
    return len(_text(cue)) <= _CUE_CHARACTERS and seconds <= _CUE_SECONDS


def _lines(cue: Sequence[Word]) -> str:
    """Return one line, or two of similar length."""
    text = _text(cue)
    if len(text) <= _CUE_LINE_CHARACTERS or " " not in text:
        return text
    gaps = [index for index, character in enumerate(text) if character == " "]
    gap = min(gaps, key=lambda index: abs(2 * index - len(text)))
    return f"{text[:gap]}\n{text[gap + 1 :]}"


def _text(cue: Sequence[Word]) -> str:
    return " ".join(word.text for word in cue)


def _clock(seconds: float) -> str:
    """Return the time in SubRip's format HH:MM:SS,mmm."""
    minutes, milliseconds = divmod(round(1000 * seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d},{milliseconds % 1000:03d}"
