"""The speech of a node, loaded: corpora that stay in memory, features, and the folder for them on disk.

A node keeps features of its own speech on disk only in the folder that it names: `feature-cache="/path"`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import recipes
from recipes import corpus_path, resolve
from recipes.sections import CorpusSection
from speech.corpora.corpus import Corpus
from speech.corpora.loading import load_corpus
from speech.data.examples import ExampleStore
from speech.data.feature_cache import FeatureCache
from speech.model.recogniser import Recogniser


@lru_cache(maxsize=2)
def corpus_of(section: CorpusSection) -> Corpus:
    """The corpus of a node; the last two stay in memory."""
    return load_corpus(section.kind, corpus_path(section.kind, section.path), **section.rules)


def example_store(
    section: CorpusSection, model: Recogniser, feature_cache: str, cache_megabytes: float
) -> ExampleStore:
    """The examples of a corpus for a model.

    Args:
        section: Names the corpus.
        model: The model, whose front end computes its input.
        feature_cache: The folder that the node names for features; "" if it names none.
        cache_megabytes: Memory for examples.
    """
    corpus, front_end = corpus_of(section), model.front_end
    disk, folder = None, feature_folder(section, feature_cache)
    if folder is not None:
        disk = (FeatureCache if feature_cache else FeatureCache.if_possible)(folder, corpus, front_end)
    cache_bytes = int(cache_megabytes * 1024**2)
    return ExampleStore(corpus, front_end, tokeniser=model.tokeniser, disk=disk, cache_bytes=cache_bytes)


def feature_folder(section: CorpusSection, feature_cache: str) -> Path | None:
    """The folder that keeps the features of a node's speech on disk; None if there is none."""
    if feature_cache:
        return resolve(feature_cache)
    return recipes.feature_cache() if section.feature_cache else None
