import io
import math
from collections import Counter
from pathlib import Path

import pytest

from speech.decoding import train_ngram
from speech.decoding.arpa import Unit, read_arpa
from speech.errors import LanguageModelError
from speech.text import ENGLISH

SENTENCES = ["turn the light on", "turn the fan off", "turn it on", "off"]


def written(order: int, unit: Unit, sentences: list[str] = SENTENCES) -> str:
    out = io.StringIO()
    train_ngram(sentences, out, order=order, unit=unit, characters=ENGLISH.characters)
    return out.getvalue()


def parsed(arpa: str) -> dict[tuple[str, ...], tuple[float, float]]:
    """ln p and ln back-off weight of each n-gram."""
    entries = {}
    for line in arpa.splitlines():
        fields = line.split("\t")
        if len(fields) > 1:
            weight = float(fields[2]) if len(fields) == 3 else 0.0
            entries[tuple(fields[1].split(" "))] = float(fields[0]) * math.log(10), weight * math.log(10)
    return entries


def backed_off(model: dict[tuple[str, ...], tuple[float, float]], gram: tuple[str, ...]) -> float:
    """ln p(last | others) as the ARPA format defines it."""
    if gram in model:
        return model[gram][0]
    return model.get(gram[:-1], (0.0, 0.0))[1] + backed_off(model, gram[1:])


@pytest.mark.parametrize(("order", "unit"), [(2, "word"), (3, "word"), (4, "character")])
def test_every_history_has_a_distribution(order: int, unit: Unit) -> None:
    model = parsed(written(order, unit))
    vocabulary = [gram[0] for gram in model if len(gram) == 1 and gram != ("<s>",)]
    histories = [gram for gram in model if len(gram) < order and gram[-1] != "</s>"]
    assert len(histories) >= 9
    for history in [(), *histories]:
        total = sum(math.exp(backed_off(model, (*history, token))) for token in vocabulary)
        assert total == pytest.approx(1.0, abs=1e-4)


def test_the_smoothing_is_witten_and_bells() -> None:
    model = parsed(written(2, "word"))
    unigrams = Counter(word for sentence in SENTENCES for word in [*sentence.split(), "</s>"])
    total, types, vocabulary = sum(unigrams.values()), len(unigrams), len(unigrams) + 1

    def unigram(word: str) -> float:
        return (unigrams[word] + types / vocabulary) / (total + types)

    # "turn" came three times, before "the" (twice) and "it" (once).
    assert math.exp(backed_off(model, ("turn", "the"))) == pytest.approx(
        (2 + 2 * unigram("the")) / 5, rel=1e-5
    )
    assert math.exp(backed_off(model, ("turn", "fan"))) == pytest.approx(2 * unigram("fan") / 5, rel=1e-5)


def test_a_character_model_knows_the_whole_alphabet(tmp_path: Path) -> None:
    (tmp_path / "c.arpa").write_text(written(3, "character", ["ab"]))
    arpa = read_arpa(tmp_path / "c.arpa")
    assert arpa.unit == "character"
    assert set(arpa.tokens) == set(ENGLISH.characters.replace(" ", "|"))


@pytest.mark.parametrize("order", [1, 7])
def test_an_order_that_no_decoder_reads_is_refused(order: int) -> None:
    with pytest.raises(LanguageModelError, match=f"order={order} must lie in 2 to 6"):
        written(order, "word")


def test_no_text_is_no_model() -> None:
    with pytest.raises(LanguageModelError, match="no sentence with a word"):
        written(3, "character", ["", "  "])


GOOD = written(2, "word")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty file"),
        ("\n\n", "an empty file"),
        ("hello\n", "line 1: .data. must come first, not 'hello'"),
        (GOOD[: GOOD.index("2-grams") - 30], "ends before its 1-grams end"),
        (
            GOOD.replace("ngram 1=10", "ngram 1=9"),
            "line 17: 10 1-grams are before it, and the header states 9",
        ),
        (GOOD.replace("-99.000000", "minus", 1), "line 6: a 1-gram is .*, not 'minus"),
        ("\\data\\\nngram 1=x\n", "line 2: a count must be"),
        ("\\data\\\nngrams\n", "line 2: 'ngram N=count' or"),
        ("\\data\\\nngram 1=1\n\n\\1-grams:\n-1\t<unk>\n\n\\2-grams:\n", "without one token"),
    ],
)
def test_what_is_no_arpa_file_is_refused_by_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.arpa").write_text(text)
    with pytest.raises(LanguageModelError, match=message) as error:
        read_arpa(tmp_path / "bad.arpa")
    assert str(tmp_path / "bad.arpa") in str(error.value)


def test_a_file_that_is_none_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LanguageModelError, match="no such language model"):
        read_arpa(tmp_path / "absent.arpa")
    (tmp_path / "zip.arpa").write_bytes(b"\x1f\x8b\x08\xff")
    with pytest.raises(LanguageModelError, match="is no UTF-8 text"):
        read_arpa(tmp_path / "zip.arpa")
    with pytest.raises(LanguageModelError, match="cannot be read"):
        read_arpa(tmp_path)
