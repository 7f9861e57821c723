"""The speech of one speaker, for tests of a client's update."""

import pytest

from base.registries import MODEL_PRESETS
from speech.corpora.loading import load_corpus
from speech.data.examples import ExampleStore
from tests.corpora import make_corpus


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    manifest = make_corpus(tmp_path_factory.mktemp("corpus"), {"train": 1}, utterances=7)
    store = ExampleStore(load_corpus("manifest", str(manifest)), MODEL_PRESETS["tiny"].features)
    return store.examples("train", "train-00")
