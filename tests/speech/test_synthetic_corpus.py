"""Kind "synthetic": speakers by number, alike everywhere, at no cost for those that nobody asks for."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from base.registries import MODEL_PRESETS
from speech.corpora.kinds.synthetic import Numbered, with_fresh_population, without_population
from speech.corpora.loading import load_corpus
from speech.corpora.speakers import require_disjoint, shared_speakers
from speech.data.examples import ExampleStore
from speech.errors import CorpusError
from speech.synthesis import writer
from speech.synthesis.grammar import is_held_out


def test_a_speaker_follows_from_its_number_alone() -> None:
    few, many = load_corpus("synthetic", "5x2"), load_corpus("synthetic", "1000000x2")
    one, same = few.utterances("train", "train-0000003"), many.utterances("train", "train-0000003")
    assert one == same and len(one) == 2
    samples = few.recording(one[0].audio).samples
    assert np.array_equal(samples, many.recording(same[0].audio).samples)
    assert len(samples) / 16_000 == pytest.approx(sum(u.duration_seconds or 0 for u in one))
    other = few.utterances("train", "train-0000004")
    assert not np.array_equal(few.recording(other[0].audio).samples, samples)
    assert not any(is_held_out(u.text) for u in (*one, *other))
    assert all(is_held_out(u.text) for u in few.utterances("test", "test-0000000"))


def test_examples_are_those_of_any_other_corpus() -> None:
    corpus = load_corpus("synthetic", "7x3")
    store = ExampleStore(corpus, MODEL_PRESETS["tiny"].features)
    examples = store.examples("train", "train-0000006")
    assert [e.text for e in examples] == [u.text for u in corpus.utterances("train", "train-0000006")]
    assert not store.skipped and all(20 < len(e.features) < 1000 for e in examples)


def test_a_million_speakers_take_no_room() -> None:
    tracemalloc.start()
    corpus = load_corpus("synthetic", "1000000")
    speakers = corpus.speakers("train")
    node = speakers[3::8]
    require_disjoint(corpus)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(speakers), len(node), node[-1]) == (1_000_000, 125_000, "train-0999995")
    assert peak < 1_000_000  # a byte a speaker
    assert not shared_speakers(corpus)


def test_the_number_of_speakers_and_utterances_names_the_data_set() -> None:
    digests = {load_corpus("synthetic", path).digest for path in ("100", "101", "100x5", "100x8")}
    assert len(digests) == 3  # "100" is "100x8"
    assert load_corpus("synthetic", "100").digest == load_corpus("synthetic", "100x8").digest


@pytest.mark.parametrize(
    "name", ["train-3", "train-0000010", "test-0000001", "train--000001", "train-00000003"]
)
def test_a_stranger_is_refused(name: str) -> None:
    corpus = load_corpus("synthetic", "10")
    assert not corpus.has_speaker("train", name)
    with pytest.raises(CorpusError, match=f"no speaker '{name}'"):
        corpus.utterances("train", name)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "0",
        "10x0",
        "-3",
        "1e6",
        "a folder",
        "10 x 5",
        "10@",
        "10@g",
        "10@+1",
        "@1",
        "10@1x5",
        "10@11112222333344445",
    ],
)
def test_a_path_that_describes_no_corpus(path: str) -> None:
    with pytest.raises(CorpusError, match="'100000x5'"):
        load_corpus("synthetic", path)
    with pytest.raises(CorpusError, match="speak English"):
        load_corpus("synthetic", "10", language="de")


def test_names_are_a_sequence() -> None:
    names = Numbered("s-", range(0, 12, 2))
    assert list(names) == [names[i] for i in range(6)] == sorted(names)
    assert "s-0000004" in names and "s-0000003" not in names and 4 not in names
    assert names[1:3] == Numbered("s-", range(2, 6, 2))
    with pytest.raises(IndexError):
        names[6]


def test_other_corpora_do_not_pay_for_it() -> None:
    code = "import sys, speech.corpora.kinds; sys.exit('scipy.signal' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Populations


def texts(corpus, speaker):
    return [utterance.text for utterance in corpus.utterances("train", speaker)]


def test_a_numbered_population_has_other_speakers_and_another_digest() -> None:
    paths = ("5x3", "5x3@1", "5x3@2", "5x3@906")  # 0x906 is the seed of those without a number
    corpora = [load_corpus("synthetic", path) for path in paths]
    assert len({corpus.digest for corpus in corpora}) == len(paths)
    assert len({tuple(texts(corpus, "train-0000003")) for corpus in corpora}) == len(paths)
    assert load_corpus("synthetic", "5x3@00FF").digest == load_corpus("synthetic", "5x3@ff").digest


def test_who_is_held_out_is_in_no_population_and_the_same_beside_all() -> None:
    one, other = load_corpus("synthetic", "5x2@1"), load_corpus("synthetic", "9x4@2")
    assert one.table["test"] == other.table["test"] == load_corpus("synthetic", "5x2").table["test"]
    assert len(one.speakers("test")) == 20
    # What a speaker sounds like follows from seed and name: no two of these share both.
    seeds = {(plan.plan.name, plan.seed) for corpus in (one, other) for plan in corpus.table.values()}
    assert len(seeds) == 3


def test_a_fresh_population_is_another_each_time() -> None:
    drawn = {with_fresh_population("7x2@new") for _ in range(20)}
    assert len(drawn) == 20 and all(load_corpus("synthetic", path).speakers("train") for path in drawn)
    assert {without_population(path) for path in drawn} == {"7x2"} == {without_population("7x2")}
    assert with_fresh_population("7x2@3f9a") == "7x2@3f9a"


def test_a_population_that_is_not_drawn_yet_is_refused() -> None:
    with pytest.raises(
        CorpusError, match=r"'7x2@new' is a population that is not drawn yet, as `murmur run` does"
    ):
        load_corpus("synthetic", "7x2@new")


def test_a_speaker_is_spoken_again_for_the_sound_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds with kept features ask for ids, texts and lengths only."""
    made, speak = [], writer.speak

    def counted(plan: writer.SplitPlan, number: int, seed: int) -> writer.Spoken:
        made.append(number)
        return speak(plan, number, seed)

    monkeypatch.setattr(writer, "speak", counted)
    corpus = load_corpus("synthetic", "5x1@77")
    names = corpus.speakers("train")
    first = [corpus.utterances("train", name) for name in names]
    assert [corpus.utterances("train", name) for name in names] == first and len(made) == 5
    recording = corpus.recording(first[0][0].audio)
    assert len(made) == 6 and len(recording.samples) >= 16_000 * (first[0][0].duration_seconds or 0)
