"""Kind "embedded": the synthetic corpus that ships with Murmuration; it takes no path.

Splits: "seed" and "seed-test" are the mild domain that the shipped seed model was trained on; "train" and
"test" are the hard domain that it is adapted to. No speaker is in two splits, and "test" has only sentences
that no other split has. `speech.synthesis` made it.
"""

import murmuration_data
from speech.corpora.corpus import Corpus, Rules
from speech.corpora.kinds.manifest import load_manifest
from speech.errors import CorpusError
from speech.text import ENGLISH


def load(path: str, rules: Rules) -> Corpus:
    """Load the shipped corpus.

    Raises:
        CorpusError: If a path or another language is given, or if the corpus is not installed.
    """
    if path not in ("", "."):
        raise CorpusError(
            f"the embedded corpus takes no path, and {path!r} is given; "
            "leave it empty, or use kind 'manifest'."
        )
    if rules.language != ENGLISH.language:
        raise CorpusError(
            f"the embedded corpus is in English, not in {rules.language!r}; "
            "use a corpus of that language, or 'en'."
        )
    try:
        folder = murmuration_data.path("corpus")
    except FileNotFoundError as error:
        raise CorpusError(str(error)) from error
    return load_manifest(folder, rules, name="embedded")
