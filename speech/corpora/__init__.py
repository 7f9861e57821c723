"""The kinds of corpora; importing this package registers them all.

A new kind is one module here with a function decorated by `speech.corpus.corpus_kind`.
"""

from speech.corpora import (
    commonvoice,
    embedded,
    huggingface,
    librispeech,
    manifest,
    speechocean762,
    synthetic,
)

__all__ = ["commonvoice", "embedded", "huggingface", "librispeech", "manifest", "speechocean762", "synthetic"]
