"""Phrases by a CTC model: log-probabilities, stitched where windows overlap; words by forced alignment."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from speech.decoding import Word, align_symbols, align_words, greedy
from speech.pretrained.ctc import PretrainedCTC
from speech.text import Alphabet
from speech.transcription.segmentation import OnSeconds, PhraseConfig, read_phrases
from speech.transcription.stitching import Stretch, stitch

Decoder = Callable[[Tensor, Tensor], list[str]]


class LibrarySymbols(Protocol):
    """Symbols of a model that are no characters of ours (`speech.pretrained.tokenisers.LibraryTokeniser`).

    Example:
        >>> from pathlib import Path
        >>> from speech.pretrained.tokenisers import LibraryTokeniser
        >>> from speech.pretrained.folder import ModelFolder
        >>> symbols: LibrarySymbols = LibraryTokeniser(ModelFolder(Path("wav2vec2")), 0)  # doctest: +SKIP
    """

    blank: int
    space: int | None

    def collapse(self, ids: Sequence[int]) -> list[int]:
        """Return the symbols of one index a frame."""

    def words(self, symbols: Sequence[int]) -> list[tuple[str, list[int]]]:
        """Return the words of symbols, each with the positions of its own."""


class CTCPhrases:
    """Transcribes files with a CTC model of ours, or with a pre-trained one; see `Transcriber`.

    Example:
        >>> import murmuration_data
        >>> from speech.model.checkpoint import load_model
        >>> model = load_model(murmuration_data.path("seed/model.safetensors")).model
        >>> read = CTCPhrases(model, model.front_end.extractor(), None, None)
        >>> with torch.inference_mode():
        ...     phrases = read(murmuration_data.path("corpus/audio/seed-test-000.ogg"))
        >>> phrases[0][0].start_seconds < phrases[-1][-1].end_seconds
        True
    """

    def __init__(
        self,
        model: Any,
        extract: Callable[[Tensor], Tensor],
        decoder: Decoder | None,
        phrases: PhraseConfig | None,
        on_seconds: OnSeconds = lambda seconds: None,
    ) -> None:
        self._model, self._extract = model, extract
        self._decoder = decoder or model.decoder
        spelled = self._decoder is not None or isinstance(model.tokeniser, Alphabet)
        self._symbols: Alphabet | LibrarySymbols = model.alphabet if spelled else model.tokeniser
        self._rate_hz = model.front_end.sample_rate_hz
        self._frame_samples = model.frame_samples
        self._phrases = phrases or PhraseConfig()
        self._on_seconds = on_seconds

    def __call__(self, path: str | Path) -> list[list[Word]]:
        """Return the words of each phrase that has any."""
        stretches = stitch(self._log_probs(path), self._symbols)
        return [words for words in map(self._words, stretches) if words]

    def _log_probs(self, path: str | Path) -> Iterator[Stretch]:
        """Yield the log-probabilities of each phrase."""
        for phrase in read_phrases(
            path,
            frame_samples=self._frame_samples,
            sample_rate_hz=self._rate_hz,
            config=self._phrases,
            on_seconds=self._on_seconds,
        ):
            features = self._extract(phrase.wave).unsqueeze(0)
            log_probs, _ = self._model(features, torch.tensor([features.shape[1]]))
            if self._decoder is not None and isinstance(self._model, PretrainedCTC):
                log_probs = self._model.in_characters(log_probs)
            yield Stretch(first_frame=phrase.first_frame, log_probs=log_probs[0].cpu(), joined=phrase.joined)

    def _words(self, stretch: Stretch) -> list[Word]:
        log_probs, symbols = stretch.log_probs, self._symbols
        frame_seconds = self._frame_samples / self._rate_hz
        first_frame = stretch.first_frame + self._model.first_samples / 2 / self._frame_samples
        if isinstance(symbols, Alphabet):
            batch = (log_probs.unsqueeze(0), torch.tensor([len(log_probs)]))
            text = self._decoder(*batch)[0] if self._decoder else greedy(*batch, symbols)[0]
            return align_words(log_probs, text, symbols, frame_seconds=frame_seconds, first_frame=first_frame)
        ids = symbols.collapse(log_probs.argmax(-1).tolist())
        return align_symbols(
            log_probs,
            ids,
            symbols.words(ids),
            blank=symbols.blank,
            frame_seconds=frame_seconds,
            first_frame=first_frame,
        )
