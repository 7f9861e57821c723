"""Text of others is shown as one printable line, and is no markup of a card."""

import pytest

from base.printable_text import in_code, in_markdown, one_line

HOSTILE = "ward\x1b[2J\x1b]0;title\x07\r\nepsilon 0.1\u202e\u2066\x9b31m\ud800\x00"


def test_what_is_not_printable_is_a_space():
    shown = one_line(HOSTILE)
    assert shown.isprintable() and "epsilon 0.1" in shown
    assert one_line("Zoë 李 7") == "Zoë 李 7"


def test_a_line_has_an_end():
    assert one_line("x" * 5000) == "x" * 400 + " ..."
    assert one_line("x" * 400) == "x" * 400
    assert one_line("abcdef", most=3) == "abc ..."


@pytest.mark.parametrize(
    "words", ["[a](http://b)", "![a](b)", "<script>", "a|b", "`code`", "\\[a](b)", "&lt;script&gt;", "a\n# b"]
)
def test_markdown_takes_it_for_text(words):
    shown = in_markdown(words)
    plain = shown.replace("\\\\", "")
    for mark in "[]<>|`&*":
        assert plain.count(mark) == plain.count(f"\\{mark}")
    assert "\n" not in shown


def test_a_code_span_does_not_end_early():
    assert in_code("a` [x](y) `b") == "a' [x](y) 'b"
