import io
import json
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from cli.main import app
from speech.corpora.loading import load_corpus
from speech.decoding import train_ngram
from speech.evaluation.error_rates import word_error_rate
from speech.model.checkpoint import save_model
from speech.model.ctc_transformer import build_model
from speech.text import ENGLISH
from tests.corpora import make_corpus
from tests.pretrained_models import tiny_model
from tests.server.in_process import federate, recipe
from tests.speech import toy


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_model(tmp_path / "model.safetensors", build_model("tiny", seed=0), "tiny")
    return tmp_path / "model.safetensors"


def murmur(*arguments: object):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_the_screen_and_the_json_say_the_same(model: Path, tmp_path: Path) -> None:
    manifest = toy.write_corpus(tmp_path, speakers=1, held_out=3)
    chosen = ("--model", model, "--path", manifest, "--split", "seed-test", "--worst", 2)
    screen, done = murmur(*chosen), murmur(*chosen, "--json")
    assert (screen.exit_code, done.exit_code) == (0, 0), screen.output
    found = json.loads(done.stdout)
    assert (found["speakers"], found["utterances"], len(found["worst_utterances"])) == (3, 12, 2)
    assert len(found["by_speaker"]) == 3 and found["warnings"] == []
    assert found["real_time_factor"] > 0
    wer = found["wer"]
    assert wer["errors"] == wer["substitutions"] + wer["insertions"] + wer["deletions"]
    assert wer["rate"] == pytest.approx(wer["errors"] / wer["of"])
    lines = screen.stdout.splitlines()
    assert "split 'seed-test': 3 speakers, 12 utterances" in lines[1]
    row = next(line for line in lines if line.startswith("WER "))
    assert f"{100 * wer['rate']:.1f} %" in row and f"{wer['deletions']:,}" in row
    assert "bootstrap over 3 speakers; with fewer than 10 it is too narrow" in screen.stdout
    worst = found["worst_utterances"][0]
    assert f"{worst['id']}: {worst['errors']} errors" in screen.stdout
    one = word_error_rate([worst["reference"]], [worst["hypothesis"]])
    assert one * len(worst["reference"].split()) == pytest.approx(worst["errors"])
    assert "\x1b[" not in screen.stdout  # not a terminal: plain


def test_the_worst_utterances_have_their_own_sound(model: Path, tmp_path: Path) -> None:
    manifest = toy.write_corpus(tmp_path, speakers=1, held_out=2)
    chosen = ("--model", model, "--path", manifest, "--split", "seed-test", "--worst", 2)
    found = json.loads(murmur(*chosen, "--json", "--sound").stdout)["worst_utterances"]
    corpus = load_corpus("manifest", str(manifest))
    for one in found:
        (meant,) = [u for u in corpus.utterances("seed-test", one["speaker"]) if u.id == one["id"]]
        samples, rate = soundfile.read(io.BytesIO(b64decode(one["sound"])))
        wanted = corpus.recording(meant.audio).segment(meant.offset_seconds, meant.duration_seconds).numpy()
        assert rate == 16_000 and samples.shape == wanted.shape
        assert np.corrcoef(samples, wanted)[0, 1] > 0.8  # Opus keeps no samples, but the sound
    assert "sound" not in json.loads(murmur(*chosen, "--json").stdout)["worst_utterances"][0]
    alone = murmur(*chosen, "--sound")
    assert alone.exit_code == 2 and "--json" in alone.stderr


def test_error_rates_by_a_field_of_the_corpus_add_up(model: Path, tmp_path: Path) -> None:
    manifest = toy.write_corpus(tmp_path, speakers=1, held_out=3)
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    for number, line in enumerate(lines):
        line |= {"accent": "north" if line["speaker"].endswith("0") else "south", "age": 9 + number % 2}
    del lines[-1]["accent"]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    chosen = ("--model", model, "--path", manifest, "--split", "seed-test", "--by")
    found = json.loads(murmur(*chosen, "accent", "--json").stdout)
    values = found["by"]["values"]
    assert found["by"]["field"] == "accent" and list(values) == ["", "north", "south"]
    assert [one["utterances"] for one in values.values()] == [1, 4, 7]
    assert [one["speakers"] for one in values.values()] == [1, 1, 2]
    assert sum(one["wer"]["errors"] for one in values.values()) == found["wer"]["errors"]
    assert values["south"]["wer"]["interval"]["low"] <= values["south"]["wer"]["rate"]
    screen = murmur(*chosen, "accent").stdout
    assert "WER by accent" in screen and "(none)" in screen
    row = next(line for line in screen.splitlines() if line.startswith("south"))
    assert row.split()[-2:] == ["7", "2"]
    assert list(json.loads(murmur(*chosen, "age", "--json").stdout)["by"]["values"]) == ["9", "10"]
    refused = murmur(*chosen, "height")
    assert refused.exit_code == 2
    assert "no utterance of split 'seed-test' has a field 'height'" in refused.stderr


def test_what_is_compared_is_a_choice_that_is_named(model: Path, tmp_path: Path) -> None:
    manifest = toy.write_corpus(tmp_path, speakers=1, held_out=2)
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    manifest.write_text(
        "".join(json.dumps({**one, "text": f"{one['text'].upper()}."}) + "\n" for one in lines)
    )
    chosen = ("--model", model, "--path", manifest, "--split", "seed-test")
    found = json.loads(murmur(*chosen, "--normaliser", "none", "--json").stdout)
    assert found["normaliser"] == "none"
    assert all(
        one["reference"].isupper() and one["reference"][-1] == "." for one in found["worst_utterances"]
    )
    plain = json.loads(murmur(*chosen, "--json").stdout)
    assert plain["normaliser"] == "characters" and plain["worst_utterances"][0]["reference"].islower()
    assert "WER (none)" in murmur(*chosen, "--normaliser", "none").stdout
    assert murmur(*chosen, "--normaliser", "nfc").exit_code == 2


def test_decoding_device_and_batches_are_options(model: Path, tmp_path: Path) -> None:
    manifest = toy.write_corpus(tmp_path, speakers=1, held_out=2)
    lm = tmp_path / "a.arpa"
    with lm.open("w") as file:
        train_ngram(["abc de"], file, order=2, unit="word", characters=ENGLISH.characters)
    chosen = ("--model", model, "--path", manifest, "--split", "seed-test", "--worst", 50, "--json")
    done = murmur(*chosen, "--lm", lm, "--beam", 4, "--device", "cpu", "--batch-seconds", 2)
    found = json.loads(done.stdout)
    assert found["decoding"] == f"beam search with {lm}"
    said = {word for one in found["worst_utterances"] for word in one["hypothesis"].split()}
    assert said <= {"abc", "de"}
    assert json.loads(murmur(*chosen, "--beam", 4).stdout)["decoding"] == "beam search of width 4"
    assert json.loads(murmur(*chosen).stdout)["decoding"] == "greedy decoding"
    nowhere = murmur(*chosen, "--device", "nowhere")
    assert nowhere.exit_code == 2 and nowhere.stderr.startswith("error: --device: ")


def test_a_pre_trained_model_is_evaluated_and_transcribes_untouched(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MURMUR_HOME", str(tmp_path / "home"))
    folder = tiny_model("whisper", tmp_path / "home" / "models" / "small" / "whisper")
    manifest = toy.write_corpus(tmp_path, speakers=1, held_out=2)
    chosen = ("--path", manifest, "--split", "seed-test", "--json")
    by_name = json.loads(murmur("--model", "small/whisper", *chosen).stdout)
    both = ("--model", folder, "--against", "small/whisper", *chosen)
    by_folder = json.loads(murmur(*both, "--beam", 2).stdout)
    assert by_name["preset"] == "small/whisper" and by_folder["decoding"] == "beam search of width 2"
    assert json.loads(murmur(*both).stdout)["against"]["wer"] == by_name["wer"]
    short = json.loads(murmur(*both, "--window", "short").stdout)
    assert (short["window"], short["against"]["window"]) == ("short", "padded")
    assert short["wer"] != by_name["wer"] == short["against"]["wer"]
    refused = murmur("--model", "small/whisper", "--lm", "a.arpa", *chosen)
    assert refused.exit_code == 2 and "takes no language model" in refused.stderr
    sound = next(tmp_path.glob("*.wav"))
    done = CliRunner().invoke(app, ["transcribe", "--model", str(folder), "--format", "json", str(sound)])
    (said,) = json.loads(done.stdout)
    assert said["words"] and "times" not in said and done.stderr == ""
    moonshine = tiny_model("moonshine", tmp_path / "moonshine")
    done = CliRunner().invoke(app, ["transcribe", "--model", str(moonshine), "--format", "json", str(sound)])
    (said,) = json.loads(done.stdout)
    assert said["times"] == "spread over each phrase"
    assert done.stderr.startswith("note: this model has no word times")
    refused = murmur("--model", moonshine, "--window", "padded", *chosen)
    assert refused.exit_code == 2 and f"--window padded: {moonshine} has no window of" in refused.stderr


def test_one_speaker_has_no_interval_and_says_so(model: Path, tmp_path: Path) -> None:
    manifest = toy.write_corpus(tmp_path, speakers=1, held_out=1)
    chosen = ("--model", model, "--path", manifest, "--split", "seed-test")
    assert "no interval: it is drawn over speakers, and there is one only" in murmur(*chosen).stdout
    assert json.loads(murmur(*chosen, "--json").stdout)["wer"]["interval"] is None


def test_two_models_are_compared_on_the_same_speakers(model: Path, tmp_path: Path) -> None:
    manifest = toy.write_corpus(tmp_path, speakers=1, held_out=2)
    other = tmp_path / "other.safetensors"
    save_model(other, build_model("tiny", seed=1), "tiny")
    chosen = ("--model", model, "--path", manifest, "--split", "seed-test", "--against", other)
    found = json.loads(murmur(*chosen, "--json").stdout)
    against = found["against"]
    assert against["model"] == str(other)
    assert against["wer_difference"] == pytest.approx(found["wer"]["rate"] - against["wer"]["rate"])
    assert f"against {other}: WER {100 * against['wer']['rate']:.1f} %" in murmur(*chosen).stdout
    same = json.loads(murmur(*chosen[:-1], model, "--json").stdout)["against"]
    assert (same["wer_difference"], same["verdict"], same["speakers_better"]) == (0, "undecided", 0)


def test_what_is_compared_with_is_found_in_the_runs_folder_as_the_run_is(tmp_path, monkeypatch) -> None:
    folder = federate(recipe(make_corpus(tmp_path / "c", {"train": 5, "test": 2}), **{"training.rounds": 1}))
    monkeypatch.chdir(tmp_path)
    done = murmur("--run", "runs/latest", "--against", "runs/latest/seed.safetensors", "--json")
    assert done.exit_code == 0, done.output
    against = json.loads(done.stdout)["against"]["model"]
    assert Path(against).resolve() == folder / "seed.safetensors"


def test_a_number_of_synthetic_speakers_is_no_path(model, monkeypatch) -> None:
    loaded = []
    monkeypatch.setattr(
        "cli.evaluate.command.load_corpus", lambda kind, place, **_: loaded.append((kind, place)) or 1 / 0
    )
    murmur("--model", model, "--kind", "synthetic", "--path", "3")
    murmur("--model", model, "--path", "3")
    assert loaded == [("synthetic", "3"), ("manifest", str(Path("3").resolve()))]


def test_a_run_is_evaluated_on_its_own_held_out_speech_and_agrees_with_its_own_evaluation(tmp_path) -> None:
    folder = federate(recipe(make_corpus(tmp_path / "c", {"train": 5, "test": 2}), **{"training.rounds": 1}))
    done = murmur("--run", folder, "--against", folder / "seed.safetensors", "--json")
    assert done.exit_code == 0, done.output
    found, own = json.loads(done.stdout), json.loads((folder / "evaluation.json").read_text())
    assert (found["split"], found["warnings"]) == ("test", [])
    assert found["run"] == found["against"]["run"] == own["run"]
    assert found["wer"] == own["wer"] and found["hours"] == pytest.approx(own["hours"])


def test_speakers_that_a_private_run_trained_on_are_evaluated_only_if_asked_for(tmp_path) -> None:
    corpus = make_corpus(tmp_path / "c", {"train": 5, "test": 2})
    folder = federate(recipe(corpus, **{"training.rounds": 1}))
    refused = murmur("--run", folder, "--split", "train")
    assert refused.exit_code == 2 and "5 speakers of split 'train' are in the population" in refused.stderr
    assert "--on-training-speech" in refused.stderr and refused.stdout == ""
    asked = murmur("--run", folder, "--split", "train", "--on-training-speech")
    assert asked.exit_code == 0 and "warning: 5 speakers" in " ".join(asked.stderr.split())
    by_file = murmur("--model", folder / "model.safetensors", "--path", corpus, "--split", "train")
    assert by_file.exit_code == 2
    told = json.loads(murmur("--run", folder, "--split", "train", "--on-training-speech", "--json").stdout)
    assert "covered by its epsilon" in told["warnings"][0]


def test_naming_the_runs_corpus_anew_does_not_hide_its_speakers(tmp_path, monkeypatch) -> None:
    """Other rules than the run's make another digest of it, and a path may be written in many ways."""
    corpus = make_corpus(tmp_path / "c", {"train": 5, "test": 2})
    longest = max(json.loads(line)["duration"] for line in corpus.read_text().splitlines())
    folder = federate(recipe(corpus, **{"training.rounds": 1, "corpus.max-seconds": longest - 0.01}))
    (tmp_path / "link").symlink_to("c")
    monkeypatch.chdir(tmp_path)
    for path in (corpus, "c", "link/manifest.jsonl"):
        for one in (("--run", folder), ("--model", folder / "model.safetensors")):
            refused = murmur(*one, "--path", path, "--split", "train")
            assert (
                refused.exit_code == 2
                and "5 speakers of split 'train' are in the population" in refused.stderr
            )
    found = json.loads(murmur("--run", folder, "--path", corpus, "--json").stdout)
    assert found["utterances"] == json.loads(murmur("--run", folder, "--json").stdout)["utterances"]
    other = make_corpus(tmp_path / "d", {"train": 6})
    done = murmur("--run", folder, "--path", other, "--split", "train")
    assert done.exit_code == 0 and "comes from a private run" in " ".join(done.stderr.split())


def test_without_its_run_folder_a_private_model_is_used_with_a_warning(tmp_path) -> None:
    corpus = make_corpus(tmp_path / "c", {"train": 5, "test": 2})
    folder = federate(recipe(corpus, **{"training.rounds": 1}))
    (tmp_path / "alone.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    done = murmur("--model", tmp_path / "alone.safetensors", "--path", corpus, "--split", "train")
    assert done.exit_code == 0 and "comes from a private run" in " ".join(done.stderr.split())


def test_a_run_without_privacy_needs_no_flag(tmp_path) -> None:
    corpus = make_corpus(tmp_path / "c", {"train": 5, "test": 2})
    folder = federate(recipe(corpus, **{"training.rounds": 1, "privacy.noise-multiplier": 0.0}))
    done = murmur("--run", folder, "--split", "train")
    assert done.exit_code == 0 and done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "absent"), "no such model file"),
        (("--run", "absent"), "no such run folder"),
        (("--model", "{model}", "--split", "nope"), "no split 'nope'; it has"),
        (("--model", "{model}", "--path", "absent"), "absent"),
        (("--model", "{model}", "--against", "absent"), "no such run folder"),
    ],
)
def test_what_cannot_be_evaluated_is_one_clear_line(model, arguments, message) -> None:
    done = murmur(*(one.format(model=model) for one in arguments))
    assert done.exit_code == 2 and message in done.stderr and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
