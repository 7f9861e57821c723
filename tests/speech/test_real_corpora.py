"""The loaders on real corpora, where the folder that MURMUR_SPEECH names is at hand."""

import os
from pathlib import Path

import pytest

from base.registries import MODEL_PRESETS
from speech.corpora.loading import load_corpus
from speech.corpora.speakers import require_disjoint
from speech.corpora.statistics import split_statistics
from speech.data.examples import ExampleStore
from speech.errors import CorpusError


@pytest.fixture(scope="module")
def speech() -> Path:
    folder = os.environ.get("MURMUR_SPEECH", "")
    if not folder:
        pytest.skip("MURMUR_SPEECH names no folder of real speech")
    return Path(folder)


def test_librispeech_in_its_own_layout(speech: Path) -> None:
    corpus = load_corpus("librispeech", speech / "LibriSpeech")
    (row,) = split_statistics(corpus)
    assert (row.split, row.speakers, row.utterances, row.words) == ("test", 11, 143, 913)
    assert round(row.hours, 2) == 0.27 and corpus.skipped == ()
    other = load_corpus("manifest", speech / "LibriSpeech")
    assert {u.text for u in other.all_utterances()} == {u.text for u in corpus.all_utterances()}
    speaker = corpus.speakers("test")[0]
    store = ExampleStore(corpus, MODEL_PRESETS["tiny"].features)
    assert len(store.examples("test", speaker)) == len(corpus.utterances("test", speaker))


@pytest.mark.parametrize(
    ("name", "speakers", "utterances"), [("speechocean762-mini", 40, 800), ("fsdd-connected", 6, 1800)]
)
def test_speakers_in_both_splits_are_found(speech: Path, name: str, speakers: int, utterances: int) -> None:
    corpus = load_corpus("manifest", speech / name)
    assert sum(row.utterances for row in split_statistics(corpus)) == utterances
    with pytest.raises(CorpusError, match=f"{speakers} speakers in more than one split"):
        require_disjoint(corpus)
