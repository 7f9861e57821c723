from hypothesis import given, settings
from hypothesis import strategies as st

from speech.evaluation.edit_table import columns, rows
from speech.evaluation.error_rates import word_edits

words = st.lists(st.sampled_from(["a", "be", "see", "dee"]), max_size=8).map(" ".join)


def test_words_stand_under_each_other_and_gaps_are_filled() -> None:
    found = columns("call peter tonight", "call n tonight now")
    assert [column.cells() for column in found] == [
        ("call", "call", "    "),
        ("peter", "n    ", "S    "),
        ("tonight", "tonight", "       "),
        ("***", "now", "I  "),
    ]


@settings(deadline=None)
@given(words, words, st.integers(1, 12))
def test_both_texts_and_the_number_of_errors_can_be_read_off_it(said: str, decoded: str, width: int) -> None:
    found = columns(said, decoded)
    assert " ".join(c.reference for c in found if c.reference) == said
    assert " ".join(c.hypothesis for c in found if c.hypothesis) == decoded
    assert sum(c.kind != "equal" for c in found) == word_edits([said], [decoded])[0].errors
    lines = list(rows(found, width))
    assert [column for line in lines for column in line] == found
    assert all(sum(c.width for c in line) + len(line) - 1 <= width for line in lines if len(line) > 1)
