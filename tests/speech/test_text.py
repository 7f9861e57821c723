"""speech.text: the paper's characters in three languages, and the oddities of real transcripts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.registries import LANGUAGES
from speech.errors import LanguageError
from speech.text import ENGLISH, FRENCH, GERMAN, Alphabet, alphabet_of

UKRAINIAN = "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя'"
EACH_LANGUAGE = pytest.mark.parametrize(
    "alphabet",
    [ENGLISH, FRENCH, GERMAN, alphabet_of("uk", UKRAINIAN)],
    ids=lambda alphabet: alphabet.language,
)


def test_the_alphabets_are_the_papers() -> None:
    english = ENGLISH.characters
    assert len(english) == len(set(english)) == 29
    assert set(english) == set("abcdefghijklmnopqrstuvwxyz '-")
    assert (ENGLISH.blank, ENGLISH.num_outputs) == (29, 30)
    added = {language: a.characters.removeprefix(english) for language, a in LANGUAGES.items()}
    assert set(added["de"]) == set("äöüß") and len(added["de"]) == 4
    assert len(set(added["fr"])) == len(added["fr"]) == 16
    assert all(alphabet.num_outputs == alphabet.blank + 1 for alphabet in LANGUAGES.values())


def test_a_language_that_we_have_none_of_is_named() -> None:
    assert alphabet_of("fr") is FRENCH
    with pytest.raises(LanguageError, match="unknown language 'tlh'; known are 'de', 'en', 'fr'; give the"):
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
    assert GERMAN.normalise(text) == expected


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
    assert FRENCH.normalise(text) == expected


@EACH_LANGUAGE
@given(text=st.text() | st.text(alphabet="aAéÉßẞœŒ\u0308\u0301\u0327'-‘’„ 1"))
def test_normalise_is_idempotent_and_encodable(alphabet: Alphabet, text: str) -> None:
    once = alphabet.normalise(text)
    assert alphabet.normalise(once) == once
    assert alphabet.decode(alphabet.encode(once)) == once
    assert "  " not in once and once == once.strip()


@EACH_LANGUAGE
@given(data=st.data())
def test_encode_undoes_decode(alphabet: Alphabet, data: st.DataObject) -> None:
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
def test_what_normalise_loses_is_listed(language: str, text: str, lost: str) -> None:
    assert alphabet_of(language).unspelled(text) == lost


@EACH_LANGUAGE
def test_what_is_outside_is_refused(alphabet: Alphabet) -> None:
    with pytest.raises(ValueError, match=f"'A' .*alphabet of '{alphabet.language}'"):
        alphabet.encode("A")
    for index in (alphabet.blank, -1, 99):
        with pytest.raises(ValueError, match=str(index)):
            alphabet.decode([0, index])


def test_a_language_is_its_characters() -> None:
    ukrainian = alphabet_of("uk", UKRAINIAN)
    assert ukrainian.characters == f"{UKRAINIAN} " and ukrainian.num_outputs == 36
    assert ukrainian.normalise("Привіт, СВІТЕ! П’ять…") == "привіт світе п'ять"
    assert ukrainian.normalise("ёлка Café") == "елка"  # Russian ё loses its dots, Latin letters are lost
    assert ukrainian.unspelled("Ґанок 5, Café") == "5cafe"
    polish = alphabet_of("pl", "aąbcćdeęfghijklłmnńoópqrsśtuvwxyzźż")
    assert polish.normalise("Zażółć GĘŚLĄ jaźń, Müller") == "zażółć gęślą jaźń muller"
    swahili = alphabet_of("sw", "abcdefghijklmnoprstuvwyz'")
    assert swahili.normalise("Ng'ombe, café") == "ng'ombe cafe" and swahili.unspelled("Iraq") == "q"


@pytest.mark.parametrize(
    ("language", "characters", "fault"),
    [
        ("s w", "ab ", "must be a code"),
        ("../x", "ab ", "must be a code"),
        ("sw", " ", "there are 1"),
        ("sw", "a" * 20_000, "there are 20001"),
        ("sw", "aba", "'a' comes 2 times"),
        ("sw", "a b ", "hold 2 spaces"),
        ("sw", "a\tb", "not printable"),
        ("sw", "aB", "lower case"),
        ("sw", "a\u212b", "lower case|composed"),
        ("sw", "a\u2126", "lower case|composed"),
    ],
)
def test_characters_that_make_no_alphabet_are_refused(language: str, characters: str, fault: str) -> None:
    with pytest.raises(LanguageError, match=fault):
        alphabet_of(language, characters)


def test_alphabets_that_differ_name_the_characters() -> None:
    assert GERMAN.difference(GERMAN) == ""
    assert GERMAN.difference(ENGLISH) == "lacks 'ä', 'ö', 'ü', 'ß'"
    assert ENGLISH.difference(GERMAN) == "has in addition 'ä', 'ö', 'ü', 'ß'"
    assert Alphabet("x", "ab ").difference(Alphabet("y", " cb")) == "lacks 'a' and has in addition 'c'"
    assert Alphabet("x", "ab ").difference(Alphabet("x", "ba ")) == "has the same characters in another order"
