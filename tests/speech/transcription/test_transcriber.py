"""Whole files: a long one is read as its parts are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

import murmuration_data
from base.registries import MODEL_PRESETS
from speech.audio import Recording
from speech.corpora.loading import load_corpus
from speech.decoding import Word, greedy
from speech.errors import AudioError
from speech.evaluation.error_rates import word_error_rate
from speech.features.log_mel import FeatureConfig, LogMel
from speech.model.checkpoint import LoadedModel, load_model
from speech.text import ENGLISH
from speech.transcription.segmentation import PhraseConfig
from speech.transcription.transcriber import Transcriber
from tests.speech import toy


class Stub(nn.Module):
    """What a transcriber needs of a CTC model with a stride of 4."""

    alphabet = tokeniser = ENGLISH
    decoder = None

    def __init__(self, front_end: FeatureConfig = MODEL_PRESETS["tiny"].features) -> None:
        super().__init__()
        self.front_end = front_end
        self.frame_samples, self.first_samples = 4 * front_end.hop_samples, front_end.first_samples


class Tuner(Stub):
    """A model that reads the toy language without learning: each frame's loudest pitch is its letter."""

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        pitches = torch.cat([features[:, 1::4, channel, None] for channel in self._channels()], -1)
        letters = [ENGLISH.characters.index(letter) for letter in toy.LETTERS[:-1]]
        symbols = torch.tensor(letters)[pitches.argmax(-1)]
        symbols[pitches.max(-1).values < 0.5] = ENGLISH.characters.index(" ")
        symbols = symbols[:, : max(features.shape[1] // 4, 1)]
        one_hot = nn.functional.one_hot(symbols, ENGLISH.num_outputs).float()
        return (9 * one_hot).log_softmax(-1), lengths // 4

    @staticmethod
    def _channels() -> list[int]:
        """The mel channel of each letter's pitch."""
        log_mel = LogMel(MODEL_PRESETS["tiny"].features)
        sweep = log_mel(torch.from_numpy(toy.tone(toy.LETTERS[:-1])))
        return [int(sweep[6 + 12 * letter].argmax()) for letter in range(len(toy.LETTERS) - 1)]


def words(phrases: list[list[Word]]) -> list[str]:
    return [word.text for phrase in phrases for word in phrase]


def test_unbroken_speech_over_many_windows_loses_and_doubles_no_word(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    said = ["".join(draw.permutation(list("abcde"))[: draw.integers(1, 5)]) for _ in range(300)]
    soundfile.write(tmp_path / "long.wav", toy.tone(" ".join(said), draw), toy.RATE_HZ)
    model = LoadedModel(model=Tuner(), preset="tiny", metadata={})  # type: ignore[arg-type]
    windows = PhraseConfig(window_seconds=10, overlap_seconds=3)
    phrases = Transcriber(model, phrases=windows)(tmp_path / "long.wav")
    assert len(phrases) > 10
    assert words(phrases) == said
    # And when, to a letter of 0.12 s.
    position = 0
    for word in (word for phrase in phrases for word in phrase):
        assert word.start_seconds == pytest.approx(position * toy.LETTER_SECONDS, abs=0.12)
        assert word.end_seconds == pytest.approx((position + len(word.text)) * toy.LETTER_SECONDS, abs=0.12)
        position += len(word.text) + 1


def test_a_frame_of_whole_windows_lies_half_a_window_later(tmp_path: Path) -> None:
    class Fixed(Stub):
        """Has an a in the third frame."""

        def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
            best = torch.full((1, features.shape[1] // 4), ENGLISH.blank)
            best[0, 2] = ENGLISH.characters.index("a")
            one_hot = nn.functional.one_hot(best, ENGLISH.num_outputs).float()
            return (9 * one_hot).log_softmax(-1), lengths // 4

    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    begins = []
    for config in (MODEL_PRESETS["tiny"].features, replace(MODEL_PRESETS["tiny"].features, framing="whole")):
        model = LoadedModel(model=Fixed(config), preset="tiny", metadata={})  # type: ignore[arg-type]
        ((word,),) = Transcriber(model)(tmp_path / "noise.wav")
        begins.append(word.start_seconds)
    assert begins == pytest.approx([0.06, 0.0725])


def test_a_long_file_with_pauses_is_read_nearly_as_its_utterances(tmp_path: Path) -> None:
    """Not exactly: the pauses' margins are part of the input of the model."""
    loaded = load_model(murmuration_data.path("seed/model.safetensors"))
    log_mel = LogMel(MODEL_PRESETS[loaded.preset].features)
    corpus = load_corpus("embedded", "")
    texts, sound = [], []
    pause = 0.002 * np.random.default_rng(0).standard_normal(int(0.7 * toy.RATE_HZ))
    for speaker in corpus.speakers("seed")[:2]:
        recording = Recording.read(corpus.utterances("seed", speaker)[0].audio)
        for utterance in corpus.utterances("seed", speaker)[:10]:
            wave = recording.segment(utterance.offset_seconds, utterance.duration_seconds)
            features = log_mel(wave)[None]
            with torch.inference_mode():
                outputs = loaded.model(features, torch.tensor([features.shape[1]]))
            texts += greedy(*outputs, ENGLISH)
            sound += [wave.numpy(), pause]
    soundfile.write(tmp_path / "long.wav", np.concatenate(sound), toy.RATE_HZ)
    assert sum(map(len, sound)) > 40 * toy.RATE_HZ
    phrases = Transcriber(loaded)(tmp_path / "long.wav")
    assert len(phrases) == pytest.approx(20, abs=3)
    # Uncut, two words in three are lost.
    assert word_error_rate([" ".join(texts)], [" ".join(words(phrases))]) < 0.15


def test_silence_has_no_words_and_a_broken_file_is_an_error(tmp_path: Path) -> None:
    transcriber = Transcriber(load_model(murmuration_data.path("seed/model.safetensors")))
    soundfile.write(tmp_path / "silent.wav", np.zeros(30 * toy.RATE_HZ), toy.RATE_HZ)
    assert transcriber(tmp_path / "silent.wav") == []
    with pytest.raises(AudioError, match="no such audio file"):
        transcriber(tmp_path / "absent.wav")
