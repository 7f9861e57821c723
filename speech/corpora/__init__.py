"""The kinds of corpora; importing this package registers them all.

A new kind is one module here with a function decorated by `speech.corpus.corpus_kind`.
"""

from speech.corpora import embedded, librispeech, manifest

__all__ = ["embedded", "librispeech", "manifest"]
