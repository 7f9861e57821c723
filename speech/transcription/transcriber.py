"""Transcription of sound files of any length to words with times, by any recogniser."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from speech.decoding import Word
from speech.model.checkpoint import LoadedModel
from speech.pretrained.seq2seq import PretrainedSeq2Seq
from speech.transcription.ctc_phrases import CTCPhrases, Decoder
from speech.transcription.segmentation import OnSeconds, PhraseConfig
from speech.transcription.seq2seq_phrases import Seq2SeqPhrases

__all__ = ["Decoder", "Transcriber"]

SHORTEST_SECONDS = 0.1


class Transcriber:
    """Transcribes files, phrase by phrase, in the memory of one phrase and of the words.

    Args:
        loaded: The model, with its features.
        decoder: Of a CTC model: maps log-probabilities (B, T', outputs) of the corpus' characters, and
            lengths, to texts. By default the model decodes as `Recogniser.decode_by` says.
        phrases: How recordings are cut; by default as the window of the model needs it.
        on_seconds: Called as a recording is read with the seconds of it that have been read.

    Example:
        >>> import murmuration_data
        >>> from speech.model.checkpoint import load_model
        >>> transcriber = Transcriber(load_model(murmuration_data.path("seed/model.safetensors")))
        >>> phrases = transcriber(murmuration_data.path("corpus/audio/seed-test-000.ogg"))
        >>> phrases[0][0].start_seconds < phrases[0][-1].end_seconds
        True
    """

    def __init__(
        self,
        loaded: LoadedModel,
        decoder: Decoder | None = None,
        phrases: PhraseConfig | None = None,
        on_seconds: OnSeconds = lambda seconds: None,
    ) -> None:
        model = loaded.model
        extract = _padded(model.front_end.extractor(), model.front_end.sample_rate_hz)
        self._read: Callable[[str | Path], list[list[Word]]]
        if isinstance(model, PretrainedSeq2Seq):
            self._read = Seq2SeqPhrases(model, extract, phrases, on_seconds)
            self.word_times = bool(model.frame_seconds)
        else:
            self._read = CTCPhrases(model, extract, decoder, phrases, on_seconds)
            self.word_times = True

    word_times: bool
    """Whether words have times of their own; else the time of a phrase is spread over its words."""

    @torch.inference_mode()
    def __call__(self, path: str | Path) -> list[list[Word]]:
        """Return the words of each phrase that has any.

        Raises:
            AudioError: For a file that cannot be read to its end.
        """
        return self._read(path)


def _padded(extract: Callable[[Tensor], Tensor], sample_rate_hz: int) -> Callable[[Tensor], Tensor]:
    """Fill up a phrase that no front end can take, at the end of a recording, with silence."""
    shortest = round(SHORTEST_SECONDS * sample_rate_hz)

    def of(wave: Tensor) -> Tensor:
        missing = shortest - len(wave)
        return extract(torch.nn.functional.pad(wave, (0, missing)) if missing > 0 else wave)

    return of
