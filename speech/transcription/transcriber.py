"""Transcription of sound files of any length to words with times."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from speech.decoding import Word, align_words, greedy
from speech.features.log_mel import LogMel
from speech.model.checkpoint import LoadedModel
from speech.transcription.segmentation import PhraseConfig, read_phrases
from speech.transcription.stitching import Stretch, stitch

Decoder = Callable[[Tensor, Tensor], list[str]]


class Transcriber:
    """Transcribes files, phrase by phrase, in the memory of one phrase and of the words.

    Args:
        loaded: The model, with its features.
        decoder: Maps log-probabilities (B, T', outputs) and lengths to texts; greedy by default.
        phrases: How recordings are cut.

    Example:
        >>> import murmuration_data
        >>> from speech.model.checkpoint import load_model
        >>> transcriber = Transcriber(load_model(murmuration_data.path("seed/model.safetensors")))
        >>> phrases = transcriber(murmuration_data.path("corpus/audio/seed-test-000.ogg"))
        >>> phrases[0][0].start_seconds < phrases[0][-1].end_seconds
        True
    """

    def __init__(
        self, loaded: LoadedModel, decoder: Decoder | None = None, phrases: PhraseConfig | None = None
    ) -> None:
        self._model = loaded.transformer
        self._alphabet = loaded.transformer.config.alphabet
        self._decoder = decoder or partial(greedy, alphabet=self._alphabet)
        self._log_mel = LogMel(loaded.log_mel)
        self._frame_samples = self._log_mel.config.hop_samples * loaded.transformer.config.stride
        self._phrases = phrases or PhraseConfig()

    def __call__(self, path: str | Path) -> list[list[Word]]:
        """Return the words of each phrase that has any.

        Raises:
            AudioError: For a file that cannot be read to its end.
        """
        stretches = stitch(self._log_probs(path), self._alphabet)
        return [words for words in map(self._words, stretches) if words]

    @torch.inference_mode()
    def _log_probs(self, path: str | Path) -> Iterator[Stretch]:
        """Yield the log-probabilities of each phrase."""
        rate = self._log_mel.config.sample_rate_hz
        for phrase in read_phrases(
            path, frame_samples=self._frame_samples, sample_rate_hz=rate, config=self._phrases
        ):
            features = self._log_mel(phrase.wave).unsqueeze(0)
            log_probs, _ = self._model(features, torch.tensor([features.shape[1]]))
            yield Stretch(first_frame=phrase.first_frame, log_probs=log_probs[0], joined=phrase.joined)

    def _words(self, stretch: Stretch) -> list[Word]:
        log_probs, config = stretch.log_probs, self._log_mel.config
        text = self._decoder(log_probs.unsqueeze(0), torch.tensor([len(log_probs)]))[0]
        return align_words(
            log_probs,
            text,
            self._alphabet,
            frame_seconds=self._frame_samples / config.sample_rate_hz,
            first_frame=stretch.first_frame + config.first_samples / 2 / self._frame_samples,
        )
