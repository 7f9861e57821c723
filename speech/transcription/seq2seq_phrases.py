"""Phrases by an encoder-decoder model, which writes the text of a phrase at once.

A model with a window of fixed length pays for the whole window. So phrases share one, with silence between
them; and a recording that fits into the window is given as it is. Words have times by cross-attention where
the model can (Whisper); else the time of a phrase is spread over the letters of its words.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path

import torch
from torch import Tensor

from speech.audio import Recording
from speech.decoding import Word
from speech.pretrained.seq2seq import PretrainedSeq2Seq, WrittenWord
from speech.transcription.segmentation import OnSeconds, Phrase, PhraseConfig, read_phrases

FRAME_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What is given to the model at once: `wave` (samples,), from `start_seconds` of the recording on.

    `phrases` are the times at which its phrases begin. A `joined` piece begins inside the piece before it.

    Example:
        >>> one, other = (
        ...     Piece(start_seconds=start, wave=torch.ones(16_000), phrases=(start,)) for start in (0.0, 2.0)
        ... )
        >>> [(piece.phrases, len(piece.wave)) for piece in packed([one, other], 30.0, 16_000)]
        [((0.0, 2.0), 48000)]
    """

    start_seconds: float
    wave: Tensor
    phrases: tuple[float, ...]
    joined: bool = False


class Seq2SeqPhrases:
    """Transcribes files with an encoder-decoder model; `speech.transcription.transcriber` makes it.

    Example:
        >>> from speech.text import ENGLISH
        >>> from speech.model.choice import ModelChoice
        >>> model = ModelChoice(name="openai/whisper-tiny.en").make(ENGLISH)  # doctest: +SKIP
        >>> read = Seq2SeqPhrases(model, model.front_end.extractor(), None)  # doctest: +SKIP
        >>> read("call.wav")[0][0].text  # doctest: +SKIP
        'Hello,'
    """

    def __init__(
        self,
        model: PretrainedSeq2Seq,
        extract: Callable[[Tensor], Tensor],
        phrases: PhraseConfig | None,
        on_seconds: OnSeconds = lambda seconds: None,
    ) -> None:
        self._model, self._extract = model, extract
        self._rate_hz = model.front_end.sample_rate_hz
        self._phrases = phrases or _phrase_config(model)
        self._on_seconds = on_seconds

    def __call__(self, path: str | Path) -> list[list[Word]]:
        """Return the words of each phrase that has any."""
        found: list[list[Word]] = []
        end = 0.0
        for piece in self._pieces(path):
            words = self._words(piece)
            if piece.joined and found:
                found[-1], words = joined(found[-1], words, (piece.start_seconds, end))
                words = _after(found[-1], words)
            found += _by_phrase(words, piece.phrases)
            end = piece.start_seconds + len(piece.wave) / self._rate_hz
        return [words for words in found if words]

    def _pieces(self, path: str | Path) -> Iterator[Piece]:
        frame_samples = round(FRAME_SECONDS * self._rate_hz)
        cut = read_phrases(
            path,
            frame_samples=frame_samples,
            sample_rate_hz=self._rate_hz,
            config=self._phrases,
            on_seconds=self._on_seconds,
        )
        alone = (_alone(phrase, frame_samples / self._rate_hz) for phrase in cut)
        if self._model.window == "short":
            return alone
        return self._whole_if_it_fits(path, packed(alone, self._model.window_seconds, self._rate_hz))

    def _whole_if_it_fits(self, path: str | Path, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """Yield the pieces; instead of a single one the whole recording, if the window can take it."""
        first, second = next(pieces, None), next(pieces, None)
        if first is not None and second is None:
            end = first.start_seconds + len(first.wave) / self._rate_hz
            if end <= self._model.window_seconds:
                first = self._whole(path, first)
        yield from (one for one in (first, second) if one is not None)
        yield from pieces

    def _whole(self, path: str | Path, piece: Piece) -> Piece:
        wave = Recording.read(path).segment(0.0, None, sample_rate_hz=self._rate_hz)
        most = round(self._model.window_seconds * self._rate_hz)
        return replace(piece, start_seconds=0.0, wave=wave[:most])

    def _words(self, piece: Piece) -> list[Word]:
        written = self._model.words(self._extract(piece.wave))
        start, seconds = piece.start_seconds, len(piece.wave) / self._rate_hz
        step = self._model.frame_seconds
        if not step or any(one.frames is None for one in written):
            return spread(written, start, seconds)
        return [
            Word(
                text=one.text,
                start_seconds=start + min(step * one.frames[0], seconds),
                end_seconds=start + min(step * one.frames[1], seconds),
                confidence=one.probability,
            )
            for one in written
            if one.frames is not None
        ]


def packed(pieces: Iterable[Piece], window_seconds: float, rate_hz: int) -> Iterator[Piece]:
    """Yield pieces of as many phrases as fit into a window, with silence between them."""
    held: Piece | None = None
    for piece in pieces:
        if held is not None and not piece.joined:
            end = piece.start_seconds + len(piece.wave) / rate_hz
            if end - held.start_seconds <= window_seconds:
                held = _together(held, piece, rate_hz)
                continue
        if held is not None:
            yield held
        held = piece
    if held is not None:
        yield held


def joined(left: list[Word], right: list[Word], shared: tuple[float, float]) -> tuple[list[Word], list[Word]]:
    """Return the words of two overlapping windows, without those that both have.

    They meet in the longest run of words that both wrote in the `shared` time; without one, in its middle.
    """
    first = next((n for n, word in enumerate(left) if word.end_seconds > shared[0]), len(left))
    last = next((n for n, word in enumerate(right) if word.start_seconds >= shared[1]), len(right))
    one, other = ([_plain(word.text) for word in words] for words in (left[first:], right[:last]))
    match = SequenceMatcher(a=one, b=other, autojunk=False).find_longest_match()
    if match.size:
        return left[: first + match.a + match.size], right[match.b + match.size :]
    middle = sum(shared) / 2
    return [word for word in left if _middle(word) < middle], [
        word for word in right if _middle(word) >= middle
    ]


def spread(words: list[WrittenWord], start_seconds: float, seconds: float) -> list[Word]:
    """Return words that share a time in proportion to their letters."""
    letters = sum(len(one.text) for one in words)
    found, before = [], 0
    for one in words:
        after = before + len(one.text)
        found.append(
            Word(
                text=one.text,
                start_seconds=start_seconds + seconds * before / letters,
                end_seconds=start_seconds + seconds * after / letters,
                confidence=one.probability,
            )
        )
        before = after
    return found


def _phrase_config(model: PretrainedSeq2Seq) -> PhraseConfig:
    """Phrases that fit into the window of the model."""
    usual = PhraseConfig()
    window = model.window_seconds or usual.window_seconds
    if model.window == "short":
        window = min(window, usual.window_seconds)
    return replace(usual, window_seconds=window, overlap_seconds=min(usual.overlap_seconds, window / 2))


def _alone(phrase: Phrase, frame_seconds: float) -> Piece:
    start = phrase.first_frame * frame_seconds
    return Piece(start_seconds=start, wave=phrase.wave, phrases=(start,), joined=phrase.joined)


def _together(one: Piece, other: Piece, rate_hz: int) -> Piece:
    pause = round((other.start_seconds - one.start_seconds) * rate_hz) - len(one.wave)
    silence = one.wave.new_zeros(max(pause, 0))
    return replace(
        one, wave=torch.cat([one.wave, silence, other.wave]), phrases=(*one.phrases, *other.phrases)
    )


def _after(before: list[Word], words: list[Word]) -> list[Word]:
    """Return words whose times begin after those before them: two windows place a word a little apart."""
    end = before[-1].end_seconds if before else 0.0
    return [
        replace(word, start_seconds=max(word.start_seconds, end), end_seconds=max(word.end_seconds, end))
        for word in words
    ]


def _by_phrase(words: list[Word], starts: tuple[float, ...]) -> list[list[Word]]:
    """Return the words of each phrase; a word belongs to the last phrase that begins before its middle."""
    found: list[list[Word]] = [[] for _ in starts]
    for word in words:
        found[max(sum(start <= _middle(word) for start in starts) - 1, 0)].append(word)
    return found


def _middle(word: Word) -> float:
    return (word.start_seconds + word.end_seconds) / 2


def _plain(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum()) or text
