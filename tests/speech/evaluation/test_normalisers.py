"""What error rates compare."""

import pytest

from speech.errors import SpeechError
from speech.evaluation.normalisers import needs_written, normaliser_of
from speech.text import ENGLISH, GERMAN


def test_each_normaliser_makes_its_own_form_of_a_transcript() -> None:
    written = "Mr. Brown didn't\n pay twenty-one dollars; um, naïve!"
    forms = {
        name: normaliser_of(name, ENGLISH)(written) for name in ("characters", "none", "whisper-english")
    }
    assert forms == {
        "characters": "mr brown didn't pay twenty-one dollars um naive",
        "none": "Mr. Brown didn't pay twenty-one dollars; um, naïve!",
        "whisper-english": "mister brown did not pay $21 naive",
    }
    assert normaliser_of("characters", GERMAN)("Grüße") == "grüße"
    assert [needs_written(name) for name in forms] == [False, True, True]


def test_an_unknown_normaliser_is_named_with_those_that_there_are() -> None:
    with pytest.raises(SpeechError, match="normaliser 'nfc': known are characters, none, whisper-english"):
        normaliser_of("nfc", ENGLISH)
