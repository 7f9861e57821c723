"""speech.alphabet_file: a language from a file of one line."""

from pathlib import Path

import pytest

from speech.alphabet_file import named_alphabet, read_alphabet
from speech.errors import LanguageError
from speech.text import GERMAN


@pytest.mark.parametrize("content", ["абв'", "абв'\n", "\ufeffабв'\r\n", "абв' \n"])
def test_the_file_is_one_line_of_characters_and_its_name_the_code(tmp_path: Path, content: str) -> None:
    (tmp_path / "uk.txt").write_text(content, encoding="utf-8", newline="")
    alphabet = named_alphabet(str(tmp_path / "uk.txt"))
    assert (alphabet.language, alphabet.characters) == ("uk", "абв' ")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "must have one line"),
        (b"abc\nde\n", "must have one line"),
        (b"\xff\xfe", "not UTF-8"),
        (b"aa", "comes 2 times"),
    ],
)
def test_a_file_that_is_no_alphabet_is_named(tmp_path: Path, content: bytes, fault: str) -> None:
    (tmp_path / "sw.txt").write_bytes(content)
    with pytest.raises(LanguageError, match=f"sw.txt: .*{fault}"):
        read_alphabet(tmp_path / "sw.txt")


def test_a_name_is_a_registered_language_or_a_file(tmp_path: Path) -> None:
    assert named_alphabet("de") is GERMAN
    with pytest.raises(
        LanguageError, match=r"'tlh' is not registered, and is no file; registered are .*'en'"
    ):
        named_alphabet("tlh")
    with pytest.raises(LanguageError, match="cannot be read"):
        read_alphabet(tmp_path / "none.txt")
