"""What is compared when an error rate is computed: transcripts as they are written, or a normal form of them.

The same form is made of references and hypotheses. An error rate belongs to its normaliser: rates of two of
them are not comparable.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Literal, get_args

from speech.errors import SpeechError
from speech.pretrained.transformers_library import transformers
from speech.text import Alphabet

NormaliserName = Literal["characters", "none", "whisper-english"]
Normaliser = Callable[[str], str]
CHARACTERS: NormaliserName = "characters"


def normaliser_of(name: str, alphabet: Alphabet) -> Normaliser:
    """Return the normaliser of a name.

    Args:
        name: "characters": the words in the characters of the corpus, as models of ours are trained. "none":
            the words as they were written: case and punctuation count. "whisper-english": that of Whisper's
            authors, for English, which also writes out contractions and writes numbers as digits.
        alphabet: The characters of the corpus.

    Raises:
        SpeechError: For an unknown name.
        ModelError: For "whisper-english" without the extra 'pretrained'.

    Example:
        >>> from speech.text import ENGLISH
        >>> [normaliser_of(name, ENGLISH)("It's  Two,  no?") for name in ("characters", "none")]
        ["it's two no", "It's Two, no?"]
    """
    if name == "characters":
        return alphabet.normalise
    if name == "none":
        return _with_single_spaces
    if name == "whisper-english":
        return _whisper_english()
    raise SpeechError(f"normaliser {name!r}: known are {', '.join(get_args(NormaliserName))}.")


def needs_written(name: str) -> bool:
    """Whether a normaliser needs transcripts as they were written."""
    return name != CHARACTERS


def _with_single_spaces(text: str) -> str:
    return " ".join(text.split())


def _whisper_english() -> Normaliser:
    place = f"{transformers().__name__}.models.whisper.english_normalizer"
    # Without a table of British and American spellings, which only folders of models have.
    found = import_module(place).EnglishTextNormalizer({})

    def normalise(text: str) -> str:
        return _with_single_spaces(found(text))

    return normalise
