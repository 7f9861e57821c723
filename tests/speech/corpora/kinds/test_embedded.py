"""The shipped corpus keeps what the documentation says of it."""

import json
from pathlib import Path

import pytest
import soundfile

import murmuration_data
from speech.audio import Recording
from speech.corpora.corpus import Corpus
from speech.corpora.loading import load_corpus
from speech.errors import CorpusError
from speech.synthesis.grammar import is_held_out, vocabulary
from speech.synthesis.plan import DEFAULT_SEED, EMBEDDED_PLAN

LARGEST_BYTES = 11_000_000


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_corpus("embedded", "")


def texts(corpus: Corpus, split: str) -> set[str]:
    return {
        utterance.text
        for speaker in corpus.speakers(split)
        for utterance in corpus.utterances(split, speaker)
    }


def words(corpus: Corpus, split: str) -> set[str]:
    return {word for text in texts(corpus, split) for word in text.split()}


def test_it_is_complete_and_as_planned(corpus: Corpus) -> None:
    assert corpus.skipped == ()
    assert set(corpus.splits) == {plan.name for plan in EMBEDDED_PLAN}
    for plan in EMBEDDED_PLAN:
        speakers = corpus.speakers(plan.name)
        assert len(speakers) == plan.speakers
        assert {len(corpus.utterances(plan.name, s)) for s in speakers} == {plan.utterances}


def test_speakers_are_disjoint(corpus: Corpus) -> None:
    everyone = [speaker for split in corpus.splits for speaker in corpus.speakers(split)]
    assert len(everyone) == len(set(everyone))


def test_the_test_sentences_occur_nowhere_else(corpus: Corpus) -> None:
    held_out = texts(corpus, "test")
    assert all(is_held_out(text) for text in held_out)
    for split in set(corpus.splits) - {"test"}:
        assert not held_out & texts(corpus, split)


def test_the_test_words_occur_in_seed_and_train(corpus: Corpus) -> None:
    assert words(corpus, "test") <= words(corpus, "seed") & words(corpus, "train")
    assert words(corpus, "train") == vocabulary()


def test_utterances_are_short_and_lie_end_to_end(corpus: Corpus) -> None:
    lengths = []
    for split in corpus.splits:
        for speaker in corpus.speakers(split):
            utterances = corpus.utterances(split, speaker)
            assert len({utterance.audio for utterance in utterances}) == 1
            end = 0.0
            for utterance in utterances:
                assert utterance.offset_seconds == pytest.approx(end, abs=1e-6)
                end = utterance.offset_seconds + (utterance.duration_seconds or 0.0)
                lengths.append(utterance.duration_seconds or 0.0)
            info = soundfile.info(utterances[0].audio)
            assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "OPUS")
            assert info.frames / 16_000 == pytest.approx(end, abs=1e-6)
    assert max(lengths) <= 3.5
    assert 1.5 <= sum(lengths) / len(lengths) <= 2.0


def test_a_speakers_segments_are_speech(corpus: Corpus) -> None:
    for split in corpus.splits:
        utterances = corpus.utterances(split, corpus.speakers(split)[0])
        recording = Recording.read(utterances[0].audio)
        for utterance in utterances:
            wave = recording.segment(utterance.offset_seconds, utterance.duration_seconds)
            assert len(wave) == round((utterance.duration_seconds or 0.0) * 16_000)
            # Each segment has its own quiet edges: the loudest part is within it.
            edges, middle = wave[:800].abs().max(), wave[800:-800].abs().max()
            assert middle > 1.5 * edges


def test_it_is_small_and_names_its_origin() -> None:
    folder = murmuration_data.path("corpus")
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= LARGEST_BYTES
    about = json.loads((folder / "corpus.json").read_text())
    assert (about["licence"], about["seed"]) == ("CC0-1.0", DEFAULT_SEED)
    assert "espeak-ng" in (folder / "README.md").read_text()


def test_it_takes_no_path(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="takes no path"):
        load_corpus("embedded", tmp_path)


def test_data_that_is_not_shipped_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"'corpuz'.*reinstall"):
        murmuration_data.path("corpuz")
