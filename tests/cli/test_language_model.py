from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from cli import language_model
from speech.decoding import BeamSearch
from speech.decoding.arpa import read_arpa
from speech.text import ENGLISH

app = typer.Typer()
app.command()(language_model.language_model)


def murmur(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_model_of_a_text_is_one_that_the_beam_search_reads(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Turn the light on.\n\nTurn it off!\nCall 112\n")
    result = murmur("--out", tmp_path / "w.arpa", "--unit", "word", tmp_path / "a.txt")
    assert result.exit_code == 0
    assert "1 lines were skipped" in result.stderr and "2 sentences" in result.stderr
    assert set(read_arpa(tmp_path / "w.arpa").tokens) == {"turn", "the", "light", "on", "it", "off"}
    assert murmur("--out", tmp_path / "c.arpa", tmp_path / "a.txt").exit_code == 0
    assert read_arpa(tmp_path / "c.arpa").unit == "character"
    for name in ("w.arpa", "c.arpa"):
        BeamSearch(ENGLISH, language_model=tmp_path / name)


def test_a_model_of_a_corpus_is_of_the_named_splits(tmp_path: Path) -> None:
    out = tmp_path / "c.arpa"
    result = murmur("--out", out, "--unit", "word", "--corpus-kind", "embedded", "--split", "seed-test")
    assert result.exit_code == 0 and "72 sentences" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "either text files or"),
        (["a.txt", "--corpus-kind", "embedded"], 2, "either text files or"),
        (["--corpus-kind", "embedded"], 2, "go together"),
        (["text.txt", "--out", "text.txt"], 2, "--out text.txt is one of the texts"),
        (["absent.txt", "--out", "absent/out.arpa"], 2, "there is no folder absent; make it first"),
        (["absent.txt", "--out", "."], 2, "--out . is a folder"),
        (["absent.txt"], 2, "No such file"),
        (["empty.txt"], 2, "no sentence with a word"),
        (["latin.txt"], 2, "is no UTF-8 text"),
        (["empty.txt", "--language", "xx"], 2, "'xx' is not registered"),
    ],
)
def test_what_makes_no_model_is_one_clear_error(
    arguments: list[str], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").write_text("\n")
    Path("text.txt").write_text("turn it on\n")
    Path("latin.txt").write_bytes(b"caf\xe9\n")
    result = murmur("--out", "out.arpa", *arguments)
    assert result.exit_code == code and message in " ".join(result.stderr.replace("│", "").split())
    assert not Path("out.arpa").exists() and Path("text.txt").read_text() == "turn it on\n"
