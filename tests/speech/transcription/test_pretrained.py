"""Transcription by pre-trained models: words, their times, and recordings beyond the window of a model."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speech.audio import Recording
from speech.corpora.loading import load_corpus
from speech.decoding import BeamConfig, Word, train_ngram
from speech.errors import ModelError
from speech.evaluation.error_rates import word_error_rate
from speech.model.checkpoint import LoadedModel
from speech.model.choice import ModelChoice
from speech.pretrained.attention_times import token_spans
from speech.pretrained.seq2seq import WrittenWord
from speech.text import ENGLISH
from speech.transcription.segmentation import PhraseConfig
from speech.transcription.seq2seq_phrases import Piece, joined, packed, spread
from speech.transcription.transcriber import Transcriber
from tests.pretrained_models import tiny_model

RATE_HZ = 16_000


def loaded(folder: Path, **choice: str) -> LoadedModel:
    model = ModelChoice(name=str(folder), **choice).make(ENGLISH).eval()
    return LoadedModel(model=model, preset=str(folder), metadata={})


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("models")
    return {name: tiny_model(name, place / name) for name in ("wav2vec2", "whisper", "moonshine")}


def noise(file: Path, *seconds: float, pause: float = 0.8) -> Path:
    """Bursts of noise with pauses between them."""
    draw, parts = np.random.default_rng(0), []
    for one in seconds:
        parts += [draw.normal(0, 0.2, round(one * RATE_HZ)), draw.normal(0, 1e-4, round(pause * RATE_HZ))]
    soundfile.write(file, np.concatenate(parts), RATE_HZ)
    return file


def require_times(words: list[Word], end_seconds: float) -> None:
    times = [time for word in words for time in (word.start_seconds, word.end_seconds)]
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= end_seconds
    assert all(0 <= word.confidence <= 1 for word in words)


def word(text: str, start: float, end: float) -> Word:
    return Word(text=text, start_seconds=start, end_seconds=end, confidence=1.0)


def texts(words: list[Word]) -> list[str]:
    return [one.text for one in words]


def test_frames_of_a_ctc_model_are_where_its_convolutions_say(folders: dict[str, Path]) -> None:
    model = loaded(folders["wav2vec2"]).model
    assert (model.frame_samples, model.first_samples) == (320, 258)
    lengths = torch.tensor([258, 257 + 320, 258 + 320])
    assert model._frames(lengths).tolist() == [1, 1, 2]


def test_words_of_a_ctc_model_with_symbols_of_its_own_have_their_times(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = loaded(folders["wav2vec2"])
    known = found.model.tokeniser._tokenizer.get_vocab()
    path = [known[one] for one in ["<pad>"] * 5 + list("HHI") + ["<pad>", "|", "<pad>", "Y", "O", "<pad>"]]

    def forward(inputs: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        one_hot = torch.nn.functional.one_hot(torch.tensor([path]), len(known)).float()
        return (20 * one_hot).log_softmax(-1), torch.tensor([len(path)])

    frame, _ = found.model.frame_samples, monkeypatch.setattr(found.model, "forward", forward)
    sound = noise(tmp_path / "a.wav", 0.28, pause=0.0)
    ((hi, yo),) = Transcriber(found)(sound)
    first = 258 / 2 / frame
    for one, text, start, stop in ((hi, "hi", 5, 8), (yo, "yo", 11, 13)):
        assert one.text == text and one.confidence == pytest.approx(1, abs=1e-3)
        assert one.start_seconds == pytest.approx((first + start - 0.5) * 0.02)
        assert one.end_seconds == pytest.approx((first + stop - 0.5) * 0.02)
    # A beam search spells the characters of the corpus, of which this model lacks one.
    arpa = tmp_path / "a.arpa"
    with arpa.open("w") as file:
        train_ngram(["hi yo", "yo hi"], file, order=2, unit="word", characters=ENGLISH.characters)
    found.model.decode_by(BeamConfig(), arpa)
    assert [texts(words) for words in Transcriber(found)(sound)] == [["hi", "yo"]]
    assert found.model.decode(*forward(torch.zeros(1), torch.zeros(1))) == ["hi yo"]


@pytest.mark.parametrize("name", ["wav2vec2", "whisper", "moonshine"])
def test_a_recording_of_any_length_is_read_in_pieces_with_times_that_increase(
    folders: dict[str, Path], name: str, tmp_path: Path
) -> None:
    found = loaded(folders[name])
    transcriber = Transcriber(found)
    phrases = transcriber(noise(tmp_path / "long.wav", 4.0, 3.0, 27.0, 2.0))
    words = [word for phrase in phrases for word in phrase]
    assert words and "" not in texts(words)
    require_times(words, 40.0)
    assert transcriber.word_times == (name != "moonshine")
    assert transcriber(noise(tmp_path / "silent.wav", 0.0, 1.0, pause=0.0)) is not None
    soundfile.write(tmp_path / "silence.wav", np.zeros(3 * RATE_HZ), RATE_HZ)
    assert transcriber(tmp_path / "silence.wav") == []
    noise(tmp_path / "short.wav", 0.01, pause=0.0)
    require_times([w for phrase in transcriber(tmp_path / "short.wav") for w in phrase] or words, 40.0)


def test_a_recording_that_fits_into_the_window_is_read_as_an_utterance_is(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    found = loaded(folders["whisper"])
    file = noise(tmp_path / "a.wav", 1.0, 2.0)
    wave = Recording.read(file).segment(0.0, None)
    features = found.model.front_end.extractor()(wave)
    with torch.inference_mode():
        encoded = found.model.encode(features[None], torch.tensor([len(features)]))
        (text,) = found.model.decode(encoded, found.model._most(torch.tensor([len(features)])))
    words = [word for phrase in Transcriber(found)(file) for word in phrase]
    assert "".join(texts(words)) == "".join(text.split()) != ""


def test_beams_are_those_of_a_decoder_which_takes_no_language_model(folders: dict[str, Path]) -> None:
    model = loaded(folders["whisper"]).model
    model.decode_by(BeamConfig(beam=3))
    assert model.beams == 3
    with pytest.raises(ModelError, match=r"--lm a\.arpa: .* takes no language model"):
        model.decode_by(BeamConfig(), Path("a.arpa"))


def test_symbols_that_are_pieces_of_words_have_no_beam_search(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded(folders["wav2vec2"]).model
    known = model.tokeniser._tokenizer.get_vocab() | {"THE": 40}
    monkeypatch.setattr(model.tokeniser._tokenizer, "get_vocab", lambda: known)
    with pytest.raises(ModelError, match="pieces of words, not characters"):
        model.decode_by(BeamConfig())


def test_tokens_are_where_their_attention_is() -> None:
    frames = [0] * 9 + [1] * 4 + [2] * 12 + [3] * 5
    weights = torch.full((2, 4, 30), 0.01)
    for frame, token in enumerate(frames):
        weights[:, token, frame] = 1.0
    weights[1] += 0.3 * torch.rand(4, 30, generator=torch.Generator().manual_seed(0))
    assert token_spans(weights, 3) == [(0, 9), (9, 13), (13, 25), (25, 30)]
    assert token_spans(weights[:, :, :3], 3) is None


def test_phrases_share_a_window_and_keep_their_times() -> None:
    def piece(start: float, seconds: float, joined: bool = False) -> Piece:
        wave = torch.ones(round(seconds * 100))
        return Piece(start_seconds=start, wave=wave, phrases=(start,), joined=joined)

    given = [piece(1, 4), piece(6, 3), piece(9.5, 2), piece(20, 10), piece(28, 3, joined=True), piece(32, 1)]
    found = list(packed(given, 10.0, 100))
    assert [one.phrases for one in found] == [(1, 6), (9.5,), (20,), (28, 32)]
    assert [len(one.wave) for one in found] == [800, 200, 1000, 500]
    assert [one.joined for one in found] == [False, False, False, True]
    assert found[0].wave[400:500].sum() == 0 and found[0].wave.sum() == 700


def test_overlapping_windows_are_joined_in_words_that_both_have() -> None:
    left = [word("one", 0, 1), word("two", 7, 8), word("Three,", 8, 9), word("fo", 9.5, 10)]
    right = [word("o", 7.0, 7.5), word("three", 8.1, 9.1), word("four", 9.4, 10.2), word("three", 11, 12)]
    kept, new = joined(left, right, (6.0, 10.0))
    assert texts(kept) + texts(new) == ["one", "two", "Three,", "four", "three"]
    kept, new = joined(left[:2], right[2:], (6.0, 10.0))
    assert texts(kept) + texts(new) == ["one", "two", "four", "three"]


def test_a_phrase_without_word_times_is_spread_over_its_letters() -> None:
    written = [WrittenWord(text=text, probability=0.5, frames=None) for text in ("a", "bcd")]
    first, second = spread(written, 2.0, 4.0)
    assert (first.start_seconds, first.end_seconds, second.end_seconds) == (2.0, 3.0, 6.0)


@pytest.fixture(scope="module")
def whisper_and_speech() -> tuple[Path, Path]:
    """The real model and LibriSpeech, beside the folder that MURMUR_SPEECH names."""
    speech = os.environ.get("MURMUR_SPEECH", "")
    folder = Path(speech).parent / "models" / "whisper-tiny.en"
    if not speech or not folder.is_dir():
        pytest.skip("MURMUR_SPEECH names no folder of real speech with models beside it")
    return folder, Path(speech)


def test_whisper_says_what_was_read_and_when(whisper_and_speech: tuple[Path, Path], tmp_path: Path) -> None:
    folder, speech = whisper_and_speech
    corpus = load_corpus("librispeech", speech / "LibriSpeech")
    chosen = [u for u in corpus.all_utterances() if 3 < (u.duration_seconds or 0) < 6][:2]
    transcriber = Transcriber(loaded(folder))
    said = [[w for phrase in transcriber(u.audio) for w in phrase] for u in chosen]
    for utterance, words in zip(chosen, said, strict=True):
        require_times(words, utterance.duration_seconds or 0)
        spoken = ENGLISH.normalise(" ".join(texts(words)))
        assert word_error_rate([utterance.text], [spoken]) < 0.35
    # The same words at the same times, later, behind another utterance and a pause.
    waves = [Recording.read(u.audio).segment(0.0, None).numpy() for u in chosen]
    pause = np.random.default_rng(0).normal(0, 1e-4, RATE_HZ)
    soundfile.write(tmp_path / "both.wav", np.concatenate([waves[0], pause, waves[1]]), RATE_HZ)
    both = Transcriber(loaded(folder), phrases=PhraseConfig())
    words = [w for phrase in both(tmp_path / "both.wav") for w in phrase]
    require_times(words, len(waves[0]) / RATE_HZ + 1 + len(waves[1]) / RATE_HZ)
    later = len(waves[0]) / RATE_HZ + 1
    in_the_pause = [min(w.end_seconds, later) - max(w.start_seconds, later - 1) for w in words]
    assert max(in_the_pause) < 0.3
    second = {one.text.lower(): one for one in words if one.start_seconds > later - 0.5}
    shared = [one for one in said[1] if one.text.lower() in second and texts(said[1]).count(one.text) == 1]
    assert len(shared) >= len(said[1]) / 2
    moved = [second[one.text.lower()].end_seconds - later - one.end_seconds for one in shared]
    assert np.median(np.abs(moved)) < 0.25
