"""Whisper: the padded window is the library's own, and padding changes nothing in the short one."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch

from speech.corpora.loading import load_corpus
from speech.data.batching import collate
from speech.data.examples import Example, ExampleStore
from speech.errors import ModelError
from speech.pretrained.folder import WHISPER_FRONT_END, ModelFolder
from speech.pretrained.front_ends import WhisperFrontEnd
from speech.pretrained.whisper import SHORT_TAIL_SECONDS
from tests.corpora import make_corpus
from tests.pretrained_models import RATE_HZ, examples_of, load, waveforms

WINDOW_SECONDS = 4
CASES = {
    "speech": lambda: waveforms()[1],
    "quiet": lambda: 1e-4 * waveforms()[1],
    "silence": lambda: torch.zeros(RATE_HZ),
    "a click": lambda: torch.nn.functional.one_hot(torch.tensor(100), 8001).float(),
    "a few samples": lambda: torch.full((37,), 0.1),
    "as long as the window": lambda: torch.sin(torch.arange(WINDOW_SECONDS * RATE_HZ) / 5),
    "nearly as long": lambda: torch.sin(torch.arange(WINDOW_SECONDS * RATE_HZ - 165) / 5),
}


def library(folder):
    from transformers import AutoFeatureExtractor, AutoModelForSpeechSeq2Seq, AutoTokenizer

    model = AutoModelForSpeechSeq2Seq.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoFeatureExtractor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("case", CASES)
def test_the_padded_window_has_the_features_of_the_library(folder_of, case):
    model = load(folder_of("whisper"))
    _, extractor, _ = library(folder_of("whisper"))
    wave = CASES[case]()
    expected = extractor(wave.numpy(), sampling_rate=RATE_HZ, return_tensors="pt").input_features
    features = model.front_end.extractor()(wave)
    assert len(features) <= len(wave) // 160 + 5  # no silence is kept
    found = model._filled(features[None], torch.tensor([len(features)]))
    torch.testing.assert_close(found.transpose(1, 2), expected, rtol=0, atol=1e-6)


def test_the_padded_window_gives_the_text_that_the_library_generates(folder_of):
    model = load(folder_of("whisper"))
    theirs, extractor, tokeniser = library(folder_of("whisper"))
    batch = collate(examples_of(model))
    with torch.no_grad():
        texts = list(model.evaluate(batch).texts)
    most = model._most(batch.lengths)
    for text, wave, room in zip(texts, waveforms(), most, strict=True):
        inputs = extractor(wave.numpy(), sampling_rate=RATE_HZ, return_tensors="pt").input_features
        ids = theirs.generate(input_features=inputs, max_new_tokens=room, do_sample=False, num_beams=1)
        assert tokeniser.decode(ids[0], skip_special_tokens=True).split() == text.split()
    assert len(set(texts)) > 1


def test_the_loss_of_the_padded_window_is_that_of_the_library(folder_of):
    model = load(folder_of("whisper"))
    theirs, extractor, tokeniser = library(folder_of("whisper"))
    for example, wave in zip(examples_of(model), waveforms(), strict=True):
        inputs = extractor(wave.numpy(), sampling_rate=RATE_HZ, return_tensors="pt").input_features
        labels = torch.tensor([tokeniser(f" {example.text}").input_ids[1:]])
        with torch.no_grad():
            expected = float(theirs(input_features=inputs, labels=labels).loss)
            assert float(model.objective(collate([example]))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("beams", [1, 3])
def test_in_the_short_window_a_batch_gives_what_each_utterance_gives_alone(folder_of, beams):
    model = load(folder_of("whisper"), window="short")
    model.beams = beams
    examples = examples_of(model)

    def results(chosen):
        batch = collate(chosen)
        with torch.no_grad():
            encoded = model.encode(batch.features, batch.lengths)
            texts = model.decode(encoded, [24] * len(chosen))
            return model.evaluate(batch).losses, texts

    losses, texts = results(examples)
    alone = [results([one]) for one in examples]
    torch.testing.assert_close(losses, torch.cat([one[0] for one in alone]), rtol=1e-5, atol=1e-5)
    assert texts == [one[1][0] for one in alone]
    assert len(set(texts)) > 1


def test_the_short_window_has_the_utterance_and_half_a_second(folder_of):
    model = load(folder_of("whisper"), window="short")
    for example, wave in zip(examples_of(model), waveforms(), strict=True):
        seconds = len(example.features) * model.front_end.hop_seconds
        assert seconds == pytest.approx(len(wave) / RATE_HZ + SHORT_TAIL_SECONDS, abs=0.06)


@pytest.mark.parametrize("window", ["short", "padded"])
@pytest.mark.parametrize("stem", [False, True], ids=["features", "stem"])
def test_the_silence_behind_an_utterance_is_no_audio(folder_of, tmp_path, window, stem):
    model = load(folder_of("whisper"), window=window).requires_grad_(False)
    if stem:
        model.start_from_stem()
    corpus = load_corpus("manifest", str(make_corpus(tmp_path, {"test": 2}, utterances=2)))
    spoken = sum(one.duration_seconds for one in corpus.all_utterances())
    store = ExampleStore(corpus, model.front_end, tokeniser=model.tokeniser)
    assert store.audio_seconds("test", store.split_examples("test")) == pytest.approx(spoken)


def test_a_mask_of_one_batch_is_not_left_for_the_next(folder_of):
    model = load(folder_of("whisper"), window="short")
    examples = examples_of(model)
    with torch.no_grad():
        alone = model.evaluate(collate(examples[:1])).losses
        model.evaluate(collate(examples))
        assert torch.equal(model.evaluate(collate(examples[:1])).losses, alone)


def without(folder_of, place, **settings):
    """A copy of the tiny Whisper's folder whose front end says nothing else than these settings."""
    folder = shutil.copytree(folder_of("whisper"), place)
    kind = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 16}
    (folder / "preprocessor_config.json").write_text(json.dumps(kind | settings))
    return folder


def test_what_a_folder_does_not_say_is_the_librarys_default(folder_of, tmp_path):
    from transformers import AutoFeatureExtractor

    folder = without(folder_of, tmp_path / "silent")
    ours, theirs = WhisperFrontEnd(ModelFolder(folder)), AutoFeatureExtractor.from_pretrained(folder)
    assert ours.window_frames == theirs.nb_max_frames == 3000
    assert ModelFolder(folder).window_seconds == theirs.chunk_length
    assert (ours.sample_rate_hz, ours.hop_seconds) == (theirs.sampling_rate, theirs.hop_length / 16_000)
    assert ours.extractor()(waveforms()[0]).shape[1] == ours.width == 16
    assert type(theirs)().feature_size == WHISPER_FRONT_END["feature_size"]


@pytest.mark.parametrize("value", [None, 0, "30", True])
def test_a_window_that_is_no_length_is_refused(folder_of, tmp_path, value):
    folder = ModelFolder(without(folder_of, tmp_path / "bad", chunk_length=value))
    with pytest.raises(ModelError, match=re.escape(f"chunk_length = {value!r} must be a number above 0")):
        WhisperFrontEnd(folder)


def test_masks_of_training_are_no_loud_spots(folder_of):
    """In Whisper's scale 0 is above all of a quiet utterance; its mean is inside its own range."""
    model = load(folder_of("whisper"))
    quiet = model.front_end.extractor()(1e-4 * waveforms()[1])
    assert quiet.max() < 0 and model.augment.value == "mean"
    masked = model.augment(quiet[None], torch.tensor([len(quiet)]), torch.Generator().manual_seed(0))
    assert not torch.equal(masked[0], quiet) and quiet.min() <= masked.min() and masked.max() <= quiet.max()


@pytest.fixture(scope="module")
def real() -> tuple[Path, Path]:
    """A folder of Whisper's own weights, and one of real speech."""
    found = tuple(os.environ.get(name, "") for name in ("MURMUR_WHISPER", "MURMUR_SPEECH"))
    if not all(found):
        pytest.skip("MURMUR_WHISPER and MURMUR_SPEECH name no model and no real speech")
    return Path(found[0]), Path(found[1])


def test_the_real_model_gives_the_text_that_the_library_generates(real):
    folder, speech = real
    model = load(folder)
    theirs, extractor, tokeniser = library(folder)
    corpus = load_corpus("librispeech", speech / "LibriSpeech")
    for utterance in list(corpus.all_utterances())[:3]:
        wave = corpus.recording(utterance.audio).segment(utterance.offset_seconds, utterance.duration_seconds)
        features = model.front_end.extractor()(wave)
        batch = collate([Example.of("u", utterance.text, features, model.tokeniser)])
        with torch.no_grad():
            text = model.evaluate(batch).texts[0]
            inputs = extractor(wave.numpy(), sampling_rate=RATE_HZ, return_tensors="pt").input_features
            ids = theirs.generate(input_features=inputs, do_sample=False, num_beams=1)
        assert text.split() == tokeniser.decode(ids[0], skip_special_tokens=True).split()
