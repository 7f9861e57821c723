"""The speech of a node, loaded: corpora that stay in memory, features, and the folder for them on disk.

A node keeps features of its own speech on disk only in the folder that it names: `feature-cache="/path"`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import recipes
from base.registries import MODEL_PRESETS
from recipes import corpus_path, resolve
from recipes.sections import CorpusSection
from speech.corpora.corpus import Corpus
from speech.corpora.loading import load_corpus
from speech.data.examples import ExampleStore
from speech.data.feature_cache import FeatureCache


@lru_cache(maxsize=2)
def corpus_of(section: CorpusSection) -> Corpus:
    """The corpus of a node; the last two stay in memory."""
    return load_corpus(section.kind, corpus_path(section.kind, section.path), **section.rules)


def example_store(
    section: CorpusSection, preset: str, feature_cache: str, cache_megabytes: float
) -> ExampleStore:
    """The examples of a corpus for a model.

    Args:
        section: Names the corpus.
        preset: The model's preset, whose features are computed.
        feature_cache: The folder that the node names for features; "" if it names none.
        cache_megabytes: Memory for examples.
    """
    corpus, features = corpus_of(section), MODEL_PRESETS[preset].features
    disk, folder = None, feature_folder(section, feature_cache)
    if folder is not None:
        disk = (FeatureCache if feature_cache else FeatureCache.if_possible)(folder, corpus, features)
    return ExampleStore(corpus, features, disk=disk, cache_bytes=int(cache_megabytes * 1024**2))


def feature_folder(section: CorpusSection, feature_cache: str) -> Path | None:
    """The folder that keeps the features of a node's speech on disk; None if there is none."""
    if feature_cache:
        return resolve(feature_cache)
    return recipes.feature_cache() if section.feature_cache else None
