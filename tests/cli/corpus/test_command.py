"""`murmur corpus`: what it prints, and that a mistake is a sentence and a status, not a traceback."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.corpus import command as corpus
from speech.synthesis.plan import SplitPlan
from speech.synthesis.voices import MILD
from tests.corpora import make_corpus

runner = CliRunner(env={"COLUMNS": "200"})


def test_describe_counts_what_is_there(tmp_path: Path) -> None:
    manifest = make_corpus(tmp_path, {"train": 3, "test": 1}, utterances=2)
    with manifest.open("a") as file:
        file.write('{"audio_filepath": "absent.wav", "text": "one", "speaker": "x", "duration": 1}\n')
    result = runner.invoke(corpus.app, ["describe", "manifest", str(manifest)])
    assert result.exit_code == 0
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.output.splitlines()]
    rows = {row[0]: row[1:] for row in cells if row}  # the splits in order: test, train and "(none)"
    assert rows["speakers"][:2] == ["1", "3"]
    assert rows["utterances"][:2] == ["2", "6"]
    assert rows["skipped"][:2] == ["0", "2"]  # the utterance, and its speaker who has no other
    assert "no such audio file" in result.output and "speaker 'x'" in result.output


def test_describe_without_arguments_is_the_embedded_corpus() -> None:
    result = runner.invoke(corpus.app, ["describe"])
    assert result.exit_code == 0
    assert "seed-test" in result.output and "digest" in result.output


def test_a_broken_corpus_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text("oops\n")
    result = runner.invoke(corpus.app, ["describe", "manifest", str(tmp_path)])
    assert result.exit_code == 2
    assert "manifest.jsonl:1: is not JSON" in result.output
    assert "Traceback" not in result.output


def test_synthesise_makes_and_describes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = (SplitPlan(name="seed", domain=MILD, speakers=1, utterances=2),)
    monkeypatch.setattr(corpus, "EMBEDDED_PLAN", plans)
    out = tmp_path / "made"
    result = runner.invoke(corpus.app, ["synthesise", "--out", str(out), "--seed", "3"])
    assert result.exit_code == 0, result.output
    assert (out / "audio" / "seed-000.ogg").is_file()
    assert "seed" in result.output and "MB" in result.output
    again = runner.invoke(corpus.app, ["synthesise", "--out", str(out)])
    assert again.exit_code == 2
    assert "is not empty" in again.output
