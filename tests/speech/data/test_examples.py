import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from base.registries import MODEL_PRESETS
from speech.audio import Recording
from speech.corpora.loading import load_corpus
from speech.data.examples import Example, ExampleStore
from speech.errors import CorpusError
from speech.features import log_mel
from tests.speech import toy

TINY = MODEL_PRESETS["tiny"].features


@pytest.mark.parametrize(("text", "shortest"), [("abc", 3), ("aab", 4), ("aaa", 5), ("a", 1)])
def test_ctc_needs_a_frame_for_each_token_and_one_between_equal_ones(text: str, shortest: int) -> None:
    assert Example.of("id", text, torch.zeros(9, 40)).shortest == shortest


def test_examples_come_in_the_order_of_the_corpus_with_their_texts(tmp_path: Path) -> None:
    corpus = toy.corpus(tmp_path)
    store = ExampleStore(corpus, TINY)
    speaker = corpus.speakers("seed")[1]
    found = store.examples("seed", speaker)
    assert [e.id for e in found] == [u.id for u in corpus.utterances("seed", speaker)]
    assert [e.text for e in found] == [u.text for u in corpus.utterances("seed", speaker)]
    assert all(e.features.shape[1] == 40 and len(e.tokens) == len(e.text) for e in found)
    assert [e.id for e in store.split_examples("seed")][-len(found) :] == [e.id for e in found]


def test_examples_are_computed_once(tmp_path: Path) -> None:
    corpus = toy.corpus(tmp_path)
    store = ExampleStore(corpus, TINY)
    first = store.examples("seed", "seed-0")
    for file in tmp_path.glob("*.wav"):
        file.unlink()
    assert all(a is b for a, b in zip(first, store.examples("seed", "seed-0"), strict=True))


def test_a_full_cache_forgets_the_speaker_asked_for_least_recently(tmp_path: Path) -> None:
    corpus = toy.corpus(tmp_path, speakers=3)
    size = max(
        sum(e.nbytes for e in ExampleStore(corpus, TINY).examples("seed", s)) for s in corpus.speakers("seed")
    )
    store = ExampleStore(corpus, TINY, cache_bytes=2 * size)
    kept = store.examples("seed", "seed-0")
    forgotten = store.examples("seed", "seed-1")
    store.examples("seed", "seed-0")
    store.examples("seed", "seed-2")
    assert store.examples("seed", "seed-0")[0] is kept[0]
    assert store.examples("seed", "seed-1")[0] is not forgotten[0]


def test_unusable_audio_of_one_utterance_loses_only_that_one(tmp_path: Path) -> None:
    manifest = toy.write_corpus(tmp_path)
    corpus = load_corpus("manifest", manifest)
    (tmp_path / "seed-0-1.wav").write_bytes(b"this is no sound")
    soundfile.write(tmp_path / "seed-0-2.wav", np.full(8_000, np.nan), 16_000, subtype="FLOAT")
    store = ExampleStore(corpus, TINY)
    texts = [u.text for u in corpus.utterances("seed", "seed-0")]
    for _ in range(2):  # counted once, however often it is met
        assert [e.text for e in store.examples("seed", "seed-0")] == [texts[0], texts[3]]
        assert [s.source for s in store.skipped] == [f"{manifest}:2", f"{manifest}:3"]
    assert "seed-0-1.wav" in store.skipped[0].reason
    assert {s.speaker for s in store.skipped} == {"seed-0"}


def test_a_speaker_without_usable_audio_has_no_examples(tmp_path: Path) -> None:
    corpus = toy.corpus(tmp_path)
    for file in tmp_path.glob("seed-0-*.wav"):
        file.write_bytes(b"")
    assert ExampleStore(corpus, TINY).examples("seed", "seed-0") == []


def test_segments_of_one_file_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["ab", "cde", "ea"]
    sound = np.concatenate([toy.tone(text) for text in texts])
    soundfile.write(tmp_path / "all.wav", sound, toy.RATE_HZ, subtype="FLOAT")
    lines, offset = [], 0.0
    for text in texts:
        seconds = len(text) * toy.LETTER_SECONDS
        lines.append(
            {"audio_filepath": "all.wav", "offset": offset, "duration": seconds, "text": text, "speaker": "s"}
        )
        offset += seconds
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    decoded = []
    read = Recording.read
    monkeypatch.setattr(Recording, "read", lambda path: decoded.append(path) or read(path))
    found = ExampleStore(load_corpus("manifest", manifest), TINY).examples("train", "s")
    assert len(decoded) == 1
    features_of = log_mel.LogMel(TINY)
    for example, text in zip(found, texts, strict=True):
        torch.testing.assert_close(example.features, features_of(torch.from_numpy(toy.tone(text))))


def test_an_unknown_speaker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no speaker 'nobody'"):
        ExampleStore(toy.corpus(tmp_path), TINY).examples("seed", "nobody")
