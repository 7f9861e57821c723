"""`murmur corpus prepare`, `split` and `download`: what they write, and sentences for mistakes."""

import json
from pathlib import Path

import datasets
import pytest
from typer.testing import CliRunner, Result

from cli.corpus import command as corpus
from speech.corpora import openslr
from speech.corpora.download import DownloadError
from speech.corpora.loading import load_corpus
from tests.corpora import make_corpus
from tests.speech import layouts

runner = CliRunner(env={"COLUMNS": "200"})


def run(*arguments: object, status: int = 0) -> Result:
    result = runner.invoke(corpus.app, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "LibriSpeech"
    parts = ("train-clean-100", "train-clean-360", "train-other-500", "dev-clean")
    for speaker, part in enumerate(parts):
        layouts.librispeech(folder, part, str(speaker), "YES", "NO")
    return folder


def test_the_papers_unions_become_splits(library: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    parts = ("--part", "seed=LS-100", "--part", "train=LS-860", "--part", "dev=dev-clean")
    said = run("prepare", "librispeech", library, "--out", out, *parts).output
    assert "train: 2 speakers, 4 utterances" in said
    prepared = load_corpus("manifest", out)
    assert {split: prepared.speakers(split) for split in prepared.splits} == {
        "seed": ("0",),
        "train": ("1", "2"),
        "dev": ("3",),
    }
    assert prepared.digest in said


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["train=LS-42"], "'LS-42' is no part of LibriSpeech; known are LS-100"),
        (["seed=LS-100", "train=LS-960"], "train-clean-100 would be in 'seed' and in 'train'"),
        (["test=test-clean"], "has no test-clean; `murmur corpus download librispeech` gets it"),
        (["train"], "--part train: write SPLIT=PART"),
        (["train=LS-100", "train=LS-360"], "write SPLIT=PART, one of each split"),
    ],
)
def test_parts_that_cannot_be(library: Path, tmp_path: Path, parts: list[str], message: str) -> None:
    options = [option for part in parts for option in ("--part", part)]
    result = run("prepare", "librispeech", library, "--out", tmp_path / "out", *options, status=2)
    assert message in result.output


def test_flac_is_written_beside_the_manifest(tmp_path: Path) -> None:
    folder = layouts.common_voice(tmp_path / "fr", {"train": [("a", "Où ?"), ("b", "12")]}, locale="fr")
    out = tmp_path / "out"
    options = ("--language", "fr", "--flac", "--processes", 1, "--out", out)
    assert "1 utterance," in run("prepare", "commonvoice", folder, *options).output
    (utterance,) = load_corpus("manifest", out, language="fr").utterances("train", "a")
    assert utterance.text == "où" and utterance.audio.suffix == ".flac"
    again = run("prepare", "commonvoice", folder, *options, status=2)
    assert "manifest.jsonl exists" in again.output
    assert (
        "--part belongs to kind 'librispeech'"
        in run("prepare", "commonvoice", folder, "--out", tmp_path / "x", "--part", "a=b", status=2).output
    )


def test_a_hugging_face_data_set_is_written_out(tmp_path: Path) -> None:
    file = layouts.sound(tmp_path / "a.flac")
    stored = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features = {"audio": stored, "text": datasets.Value("string"), "speaker": datasets.Value("string")}
    audio = [{"bytes": file.read_bytes(), "path": "a.flac"}]
    rows = {"audio": audio, "text": ["yes"], "speaker": ["ann"]}
    table = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    table.cast_column("audio", datasets.Audio()).save_to_disk(tmp_path / "saved")
    run("prepare", "huggingface", tmp_path / "saved", "--out", tmp_path / "out")
    (utterance,) = load_corpus("manifest", tmp_path / "out").utterances("train", "ann")
    assert utterance.audio.read_bytes() == file.read_bytes()


def test_seed_speakers_are_drawn_and_the_rest_is_shuffled(tmp_path: Path) -> None:
    manifest = make_corpus(tmp_path / "in", {"train": 10, "test": 2}, utterances=2)
    options = ("--share", 0.2, "--into", "seed")
    run("split", "manifest", manifest, *options, "--out", tmp_path / "out")
    prepared = load_corpus("manifest", tmp_path / "out")
    assert [len(prepared.speakers(split)) for split in ("seed", "train", "test")] == [2, 8, 2]
    said = run("split", "manifest", manifest, *options, "--iid", "--out", tmp_path / "iid").output
    assert "an epsilon for them protects no real person" in said
    shuffled = load_corpus("manifest", tmp_path / "iid")
    assert shuffled.speakers("seed") == prepared.speakers("seed")
    assert shuffled.digest != prepared.digest
    assert (
        "give --share, or --iid"
        in run("split", "manifest", manifest, "--out", tmp_path / "none", status=2).output
    )


def test_a_corpus_with_everybody_in_both_splits_is_divided_in_two_commands(tmp_path: Path) -> None:
    manifest = make_corpus(tmp_path / "in", {"train": 8}, utterances=2)
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    for number, line in enumerate(lines):
        line |= {"split": ("train", "test")[number % 2], "gender": "fm"[number // 2 % 2], "age": number}
        line["text"] = line["text"].capitalize() + "."
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    one, two = tmp_path / "one", tmp_path / "two"
    into_one_that_is_there = ("--share", 0.25, "--into", "test", "--out", one)
    assert (
        "split 'test' exists" in run("split", "manifest", manifest, *into_one_that_is_there, status=2).output
    )
    said = run("split", "manifest", manifest, "--pool", *into_one_that_is_there).output
    assert "WARNING" not in said
    run("split", "manifest", one, "--share", 0.2, "--into", "dev", "--out", two)
    divided = load_corpus("manifest", two, keep_fields=("gender", "age"), keep_written=True)
    assert {split: len(divided.speakers(split)) for split in divided.splits} == {
        "dev": 1,
        "test": 2,
        "train": 5,
    }
    given = {(line["speaker"], line["text"], line["gender"], str(line["age"])) for line in lines}
    assert given == {
        (u.speaker, u.written, u.field("gender"), u.field("age")) for u in divided.all_utterances()
    }
    assert all(u.fields == () and u.written == "" for u in load_corpus("manifest", two).all_utterances())


def test_a_share_that_is_no_number_is_refused_in_a_sentence(tmp_path: Path) -> None:
    said = run("split", "embedded", "--share", "nan", "--out", tmp_path / "out", status=2).output
    assert said == "error: --share nan: give a number from 0 to 1.\n"


def test_the_embedded_corpus_takes_no_path(tmp_path: Path) -> None:
    said = run("prepare", "embedded", "--out", tmp_path / "whole").output
    assert "seed: 32 speakers, 960 utterances" in said
    said = run("split", "embedded", "--share", "0.05", "--into", "drawn", "--out", tmp_path / "out").output
    assert "drawn: 4 speakers" in said and "train: 92 speakers" in said


def test_describe_in_json_and_in_a_picture(tmp_path: Path) -> None:
    manifest = make_corpus(tmp_path, {"train": 3, "test": 1}, utterances=2)
    manifest.write_text(manifest.read_text().replace('"test-00"', '"train-00"'))
    picture = tmp_path / "speakers.png"
    table = json.loads(run("describe", "manifest", manifest, "--json", "--plot", picture).stdout)
    assert table["shared_speakers"] == {"train-00": ["test", "train"]}
    assert [row["speakers"] for row in table["splits"]] == [1, 3]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "1 SPEAKERS ARE IN MORE THAN ONE SPLIT" in run("describe", "manifest", manifest).output
    wrong = run("describe", "manifest", manifest, "--plot", tmp_path / "a.txt", status=2)
    assert "give a name that ends with .png" in wrong.output


def test_foreign_characters_are_counted(tmp_path: Path) -> None:
    manifest = make_corpus(tmp_path, {"train": 1}, utterances=2)
    manifest.write_text(manifest.read_text().replace('"text": "one', '"text": "one 1'))
    said = run("describe", "manifest", manifest, "--unspelled", "map").output
    assert "the transcript has '1', outside the 29 characters" in said
    assert "mapped" in said and "spell it out" not in said
    assert "spell it out" in run("describe", "manifest", manifest).output


def test_downloads_say_what_came_and_what_did_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetched(url: str, file: Path, **options: object) -> str:
        asked.append(url)
        if "101" in url:
            raise DownloadError(f"{url}: the server answers 404")
        file.write_bytes(b"")
        return "abc"

    monkeypatch.setattr(openslr, "fetch", fetched)
    monkeypatch.setattr(openslr, "unpack", lambda archive, member, folder: folder.mkdir())
    run("download", "librispeech", "--out", tmp_path, "--part", "LS-860", "--part", "train-clean-360")
    base = "https://www.openslr.org/resources"
    assert asked == [f"{base}/12/train-clean-360.tar.gz", f"{base}/12/train-other-500.tar.gz"]
    assert "404" in run("download", "speechocean762", "--out", tmp_path, status=2).output
    assert (
        "known are LS-100"
        in run("download", "librispeech", "--out", tmp_path, "--part", "x", status=2).output
    )
