"""`murmur corpus leave`: on the disk before it says so, and nothing computed from their speech stays."""

import json

import pytest
from typer.testing import CliRunner

from base.registries import MODEL_PRESETS
from cli.main import app
from client.state.departures import Departures
from recipes import feature_cache, home
from speech.corpora.loading import load_corpus
from speech.data.examples import ExampleStore
from speech.data.feature_cache import FeatureCache
from tests.corpora import make_corpus

TINY = MODEL_PRESETS["tiny"].features


def leave(manifest, *arguments, kind="manifest"):
    place = ["--corpus-kind", kind, *(["--corpus-path", str(manifest)] if manifest else [])]
    done = CliRunner().invoke(app, ["corpus", "leave", *map(str, arguments), *place])
    return done.exit_code, done.output


@pytest.fixture
def manifest(tmp_path):
    return make_corpus(tmp_path / "speech", {"train": 3, "test": 1}, utterances=2)


def left():
    return [one.speaker for one in Departures(home() / "node").entries]


def compute(manifest, folder):
    corpus = load_corpus("manifest", manifest)
    store = ExampleStore(corpus, TINY, disk=FeatureCache(folder, corpus, TINY))
    for split in corpus.splits:
        store.split_examples(split)
    return {path.name for path in folder.rglob("*.safetensors")}


def test_who_leaves_is_in_the_record_of_the_node(manifest):
    code, said = leave(manifest, "train-01")
    assert code == 0 and left() == ["train-01"]
    assert "train-01: has left" in said and "left.jsonl" in said
    assert "2 files and their transcripts stay where they are" in said
    assert (home() / "node" / "left.jsonl").stat().st_mode & 0o777 == 0o600


def test_several_leave_at_once_and_twice_is_harmless(manifest):
    assert leave(manifest, "train-01", "test-00")[0] == 0
    before = (home() / "node" / "left.jsonl").read_bytes()
    code, said = leave(manifest, "test-00")
    assert code == 0 and "test-00: had left already, on 20" in said
    assert (home() / "node" / "left.jsonl").read_bytes() == before


def test_a_stranger_is_refused_with_the_place_and_who_may_be_meant(manifest):
    code, said = leave(manifest, "train-01", "train-1")
    assert code == 2 and left() == []
    assert "has no speaker 'train-1'" in said and str(manifest) in said and "'train-01'" in said
    assert "--corpus-path" in said and "Traceback" not in said


def test_who_left_and_was_deleted_from_the_corpus_since_may_leave_again(manifest):
    leave(manifest, "train-01")
    lines = [line for line in manifest.read_text().splitlines() if "train-01" not in line]
    manifest.write_text("\n".join(lines) + "\n")
    code, said = leave(manifest, "train-01")
    assert code == 0 and "had left already" in said


def test_who_has_no_usable_speech_may_leave_too(manifest):
    with manifest.open("a") as file:
        line = {"audio_filepath": "gone.flac", "duration": 1.0, "text": "one", "speaker": "silent"}
        file.write(json.dumps(line) + "\n")
    assert leave(manifest, "silent")[0] == 0 and left() == ["silent"]


def test_their_features_go_and_those_of_who_stays_stay(manifest, tmp_path):
    named = tmp_path / "features"
    before = compute(manifest, named), compute(manifest, feature_cache())
    assert before[0] == before[1] and len(before[0]) == 4
    code, said = leave(manifest, "train-01", "--feature-cache", named)
    assert code == 0 and "2 files deleted" in said
    for folder in (named, feature_cache()):
        now = {path.name for path in folder.rglob("*.safetensors")}
        assert now < before[0] and len(now) == 3


def test_features_of_an_earlier_state_of_a_recording_go_too(manifest):
    """Their names can be computed no more; so all go that are not of somebody who stays."""
    compute(manifest, feature_cache())
    sound = manifest.parent / "train-01-0.flac"
    sound.write_bytes(sound.read_bytes())  # another time of change
    compute(manifest, feature_cache())
    litter = next(feature_cache().rglob("*.safetensors")).with_name(f".{'a' * 32}.safetensors.7.7")
    litter.write_bytes(b"torn")
    assert len(list(feature_cache().rglob("*.safetensors"))) == 5
    assert leave(manifest, "train-01")[0] == 0
    assert len(list(feature_cache().rglob("*.safetensors"))) == 3 and not litter.exists()


def test_recordings_are_deleted_only_if_asked_and_only_those_of_nobody_else(manifest):
    with manifest.open("a") as file:  # train-02 speaks in a file of train-01's, by another path
        line = {
            "audio_filepath": "../speech/train-01-0.flac",
            "duration": 0.2,
            "text": "one",
            "speaker": "train-02",
        }
        file.write(json.dumps(line) + "\n")
    sounds = set(manifest.parent.glob("*.flac"))
    leave(manifest, "train-01")
    assert set(manifest.parent.glob("*.flac")) == sounds
    code, said = leave(manifest, "train-01", "--delete-recordings")
    assert code == 0 and "1 files deleted" in said and "transcripts" in said
    assert "train-01-0.flac stays, for somebody else speaks in it too" in said
    assert {path.name for path in sounds - set(manifest.parent.glob("*.flac"))} == {"train-01-1.flac"}


def test_synthetic_speakers_may_leave_and_are_not_gone_through(monkeypatch):
    monkeypatch.setattr("speech.synthesis.writer.speak", None)  # nobody is spoken for
    code, said = leave("100000x2", "train-0000007", kind="synthetic")
    assert code == 0 and left() == ["train-0000007"], said
    assert leave("100000x2", "train-0100000", kind="synthetic")[0] == 2


def test_a_folder_of_the_nodes_that_others_may_enter_is_refused(manifest):
    (home() / "node").mkdir(parents=True)
    (home() / "node").chmod(0o755)
    code, said = leave(manifest, "train-01")
    assert code == 2 and "chmod 700" in said and left() == []


def test_a_name_with_escapes_reaches_no_terminal(manifest):
    with manifest.open("a") as file:
        line = {
            "audio_filepath": "train-00-0.flac",
            "duration": 0.2,
            "text": "one",
            "speaker": "a\x1b[2Jb\nc",
        }
        file.write(json.dumps(line) + "\n")
    code, said = leave(manifest, "a\x1b[2Jb\nc")
    assert code == 0 and "\x1b" not in said and left() == ["a\x1b[2Jb\nc"]
