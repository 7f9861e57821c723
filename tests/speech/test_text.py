"""speech.text: the paper's 29 characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech.text import ALPHABET, BLANK, NUM_OUTPUTS, decode, encode, normalise, unspelled


def test_the_alphabet_is_the_papers() -> None:
    assert len(ALPHABET) == len(set(ALPHABET)) == 29
    assert set(ALPHABET) == set("abcdefghijklmnopqrstuvwxyz '-")
    assert (BLANK, NUM_OUTPUTS) == (29, 30)


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
        ("\ufb01ne", "fine"),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


@given(st.text())
def test_normalise_is_idempotent_and_encodable(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert decode(encode(once)) == once
    assert "  " not in once and once == once.strip()


@given(st.lists(st.integers(min_value=0, max_value=28)))
def test_encode_undoes_decode(ids: list[int]) -> None:
    assert encode(decode(ids)) == ids


@pytest.mark.parametrize(
    ("text", "lost"),
    [("room 101", "10"), ("мир", "мир"), ("it's twenty-one.", ""), ("Café!", ""), ("x²", "2")],
)
def test_what_normalise_would_lose_is_told(text: str, lost: str) -> None:
    assert unspelled(text) == lost


def test_what_is_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="'A'"):
        encode("A")
    for index in (BLANK, -1, 99):
        with pytest.raises(ValueError, match=str(index)):
            decode([0, index])
