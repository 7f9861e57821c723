"""speech.text: the paper's characters in three languages, and the oddities of real transcripts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech.text import ALPHABETS, ENGLISH, alphabet_of

LANGUAGES = pytest.mark.parametrize("language", list(ALPHABETS))


def test_the_alphabets_are_the_papers() -> None:
    english = ENGLISH.characters
    assert len(english) == len(set(english)) == 29
    assert set(english) == set("abcdefghijklmnopqrstuvwxyz '-")
    assert (ENGLISH.blank, ENGLISH.num_outputs) == (29, 30)
    added = {language: a.characters.removeprefix(english) for language, a in ALPHABETS.items()}
    assert set(added["de"]) == set("äöüß") and len(added["de"]) == 4
    assert len(set(added["fr"])) == len(added["fr"]) == 16
    assert all(alphabet.num_outputs == alphabet.blank + 1 for alphabet in ALPHABETS.values())


def test_a_language_that_we_have_none_of_is_named() -> None:
    assert alphabet_of("fr") is ALPHABETS["fr"]
    with pytest.raises(ValueError, match="'tlh' is not known; known are en, fr, de"):
        alphabet_of("tlh")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", "hello world"),
        ("  two\t words\n", "two words"),
        ("DON'T", "don't"),
        ("don\u2019t", "don't"),
        ("well-known", "well-known"),
        ("well\u2010known", "well-known"),
        ("yes - or \u2014 no", "yes or no"),
        ("Café Zoë", "cafe zoe"),
        ("Straße, Ærø, Łódź", "strasse aero lodz"),
        ("one,two", "one two"),
        ("' - ''", ""),
        ("?!", ""),
        ("", ""),
        ("soft\u00adhyphen", "softhyphen"),
        ("zero\u200dwidth\ufeff", "zerowidth"),
        ("zero\u200bwidth space", "zero width space"),
        ("a\x96b \x80c", "a b c"),
        ("\ufb01ne", "fine"),
        ("wait\u2026what", "wait what"),
        ("\u201cYes\u201d \u00abno\u00bb \u2039so\u203a", "yes no so"),
        ('"He said ""no"""', "he said no"),
    ],
)
def test_english(text: str, expected: str) -> None:
    assert ENGLISH.normalise(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("„Grüße“, sagte »Änne« – und ging…", "grüße sagte änne und ging"),
        ("STRASSE, STRAẞE, Straße", "strasse straße straße"),
        ("U\u0308bung", "übung"),  # as some keyboards decompose it
        ("Citroën, Café, Øre, œuvre", "citroen cafe ore oeuvre"),
        ("‚Nein‘, rief er, ‚nie‘", "nein rief er nie"),
        ("geht‘s, geht’s, geht´s", "geht's geht's geht's"),
        ("Ost\u2011West\u2212Gefälle", "ost-west gefälle"),
    ],
)
def test_german(text: str, expected: str) -> None:
    assert ALPHABETS["de"].normalise(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("« L’œuf ! »", "l'œuf"),
        ("ŒUVRE, ÆGYPTUS, Ÿ", "œuvre ægyptus ÿ".lower()),
        ("“Ça va ?” — Où ça…", "ça va où ça"),
        ("aujourd’hui, peut\u2010être", "aujourd'hui peut-être"),
        ("e\u0301te\u0301", "été"),
        ("El Niño, Göteborg, São", "el nino goteborg sao"),
        ("Noël, naïf, où, aiguë, capharnaüm", "noël naïf où aiguë capharnaüm"),
        ("\ufb01n\u00a0: voilà\u202f!", "fin voilà"),
    ],
)
def test_french(text: str, expected: str) -> None:
    assert ALPHABETS["fr"].normalise(text) == expected


@LANGUAGES
@given(text=st.text() | st.text(alphabet="aAéÉßẞœŒ\u0308\u0301\u0327'-‘’„ 1"))
def test_normalise_is_idempotent_and_encodable(language: str, text: str) -> None:
    alphabet = alphabet_of(language)
    once = alphabet.normalise(text)
    assert alphabet.normalise(once) == once
    assert alphabet.decode(alphabet.encode(once)) == once
    assert "  " not in once and once == once.strip()


@LANGUAGES
@given(data=st.data())
def test_encode_undoes_decode(language: str, data: st.DataObject) -> None:
    alphabet = alphabet_of(language)
    ids = data.draw(st.lists(st.integers(min_value=0, max_value=alphabet.blank - 1)))
    assert alphabet.encode(alphabet.decode(ids)) == ids


@pytest.mark.parametrize(
    ("language", "text", "lost"),
    [
        ("en", "room 101", "10"),
        ("en", "мир", "мир"),
        ("en", "it's twenty-one.", ""),
        ("en", "Café!", ""),
        ("en", "x²", "2"),
        ("de", "Süß, 5 Öre", "5"),
        ("fr", "«Œil» n°3 в", "3в"),
    ],
)
def test_what_normalise_would_lose_is_told(language: str, text: str, lost: str) -> None:
    assert alphabet_of(language).unspelled(text) == lost


@LANGUAGES
def test_what_is_outside_is_refused(language: str) -> None:
    alphabet = alphabet_of(language)
    with pytest.raises(ValueError, match=f"'A' .*alphabet of '{language}'"):
        alphabet.encode("A")
    for index in (alphabet.blank, -1, 99):
        with pytest.raises(ValueError, match=str(index)):
            alphabet.decode([0, index])
