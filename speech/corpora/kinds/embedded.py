"""Kind "embedded": the synthetic corpus that ships with Murmuration; it takes no path.

Splits: "seed" and "seed-test", the mild domain that the shipped seed model was trained on; "train"
and "test", the hard domain that it is adapted to. Speakers are disjoint everywhere, and "test" has
only sentences that no other split has. Made by `speech.synthesis`.
"""

import murmuration_data
from speech.corpora.corpus import Corpus, Rules
from speech.corpora.kinds.manifest import load_manifest
from speech.errors import CorpusError
from speech.text import ENGLISH


def load(path: str, rules: Rules) -> Corpus:
    """Load the shipped corpus. Raises `CorpusError` if given a path, or if it is not installed."""
    if path not in ("", "."):
        raise CorpusError(
            f"the embedded corpus takes no path, but was given {path!r}; "
            "leave it empty, or use kind 'manifest'."
        )
    if rules.language != ENGLISH.language:
        raise CorpusError(
            f"the embedded corpus is in English, but language {rules.language!r} was asked for; "
            "use a corpus of that language, or 'en'."
        )
    try:
        folder = murmuration_data.path("corpus")
    except FileNotFoundError as error:
        raise CorpusError(str(error)) from error
    return load_manifest(folder, rules, name="embedded")
