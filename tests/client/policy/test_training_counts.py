"""What one speaker's data can do to a node's sum: add that speaker's clipped update, and nothing else."""

import json
import os

import numpy as np
import pytest
import soundfile
import torch

from base.registries import MODEL_PRESETS
from cli.composing import default_config
from client import speaker_processes
from client.node import Node
from client.training.speaker_round import SpeakerRound, SpeechLimit
from client.training.speaker_training import SpeakerTraining
from privacy import ClipBounds, Quantiser
from privacy.released_metrics import STATISTICS
from recipes import ConfigError, RunConfig
from speech.corpora.corpus import Corpus, Utterance
from speech.corpora.loading import load_corpus
from speech.data.examples import ExampleStore
from speech.errors import AudioError
from speech.model.ctc_transformer import build_model
from strategies import bind
from tests.corpora import make_corpus
from wire.messages import Task
from wire.node_answers import NodeSum

LAYOUT, VECTOR = bind(build_model("tiny", seed=1))
BOUNDS = ClipBounds.of("dim", 0.2, LAYOUT, statistics=len(STATISTICS))
WITH_CHANCE = {"local.dropout": 0.1, "local.layer-drop": 0.1, "local.batch-size": 2}


@pytest.fixture(autouse=True)
def _afresh():
    yield
    speaker_processes.forget()


@pytest.fixture
def manifest(tmp_path):
    return make_corpus(tmp_path / "speech", {"train": 4, "test": 1})


def lines_of(manifest):
    return [json.loads(line) for line in manifest.read_text().splitlines()]


def without(manifest, *speakers, name="less.jsonl"):
    """The same corpus without some speakers, beside it."""
    kept = [line for line in lines_of(manifest) if line["speaker"] not in speakers]
    return written(manifest.with_name(name), kept)


def written(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def config(**settings):
    return RunConfig.from_flat({**default_config(), **WITH_CHANCE, **settings, "corpus.feature-cache": False})


def sum_over(manifest, *speakers, run="r", **settings):
    """The node's sum over the speakers with these names, whatever their numbers are."""
    here = Node.of(config(**settings), {"corpus-path": str(manifest), "limits": "none"})
    numbers = tuple(list(here.speakers).index(name) for name in speakers)
    task = Task(
        round_number=3,
        nonce="n",
        run=run,
        layout=LAYOUT.digest,
        speakers=numbers,
        bounds=BOUNDS,
        quantiser=Quantiser.of(BOUNDS),
    )
    here.load(task, VECTOR)
    total = NodeSum(task, LAYOUT)
    here.train(task, here.speakers, total)
    return total.integers.to(torch.int64)


def test_a_sum_without_a_speaker_is_the_sum_less_that_speakers_part_to_the_bit(manifest):
    """For one who was not drawn and for one who was: numbers shift, the others' parts stay."""
    all_of = sum_over(manifest, "train-01", "train-02", "train-03")
    assert torch.equal(sum_over(without(manifest, "train-00"), "train-01", "train-02", "train-03"), all_of)
    rest = sum_over(without(manifest, "train-01", name="rest.jsonl"), "train-02", "train-03")
    assert torch.equal(all_of - rest, sum_over(manifest, "train-01"))


def test_a_part_does_not_depend_on_the_order_of_the_speakers(manifest):
    forth = sum_over(manifest, "train-00", "train-02", "train-03")
    assert torch.equal(forth, sum_over(manifest, "train-03", "train-00", "train-02"))


def test_chance_is_another_in_each_run_round_and_speaker():
    drawn = {
        SpeakerRound(run=run, round_number=number, speaker=name).generator(purpose).initial_seed()
        for run in ("a", "b")
        for number in (1, 2)
        for name in ("s", "t", "1")
        for purpose in ("training", "utterances")
    }
    assert len(drawn) == 24
    here, again = (SpeakerRound(run="a", round_number=1, speaker="s").generator("training") for _ in range(2))
    assert here.initial_seed() == again.initial_seed()


def test_parts_of_a_speaker_rounds_name_do_not_run_together():
    one = SpeakerRound(run="a", round_number=11, speaker="s")
    other = SpeakerRound(run="a1", round_number=1, speaker="s")
    assert one.generator("x").initial_seed() != other.generator("x").initial_seed()


def test_another_run_trains_in_another_order(manifest):
    assert not torch.equal(sum_over(manifest, "train-00"), sum_over(manifest, "train-00", run="s"))


def planted(monkeypatch, speaker, deed):
    """From now on, whoever reads that speaker's audio does this first."""
    read = Corpus.recording

    def recording(self, audio):
        if speaker in audio.name:
            deed()
        return read(self, audio)

    monkeypatch.setattr(Corpus, "recording", recording)


def burn():
    while True:
        sum(range(1000))


@pytest.mark.parametrize(
    "deed", [lambda: os._exit(1), lambda: os.abort(), burn, lambda: bytearray(2 * 1024**3)]
)
def test_a_speaker_whose_speech_ends_the_process_costs_the_others_nothing(manifest, monkeypatch, deed):
    budget = {
        "local.processor-seconds": 2.0,
        "local.most-seconds": 30.0,
        "local.memory-megabytes": 256,
    }
    expected = sum_over(without(manifest, "train-01"), "train-00", "train-02", "train-03", **budget)
    speaker_processes.forget()
    planted(monkeypatch, "train-01", deed)
    found = sum_over(manifest, "train-00", "train-01", "train-02", "train-03", **budget)
    assert torch.equal(found, expected)


def test_much_speech_is_bounded_work_and_only_what_is_used_is_read(manifest, monkeypatch, tmp_path):
    """A speaker with 400 times the recordings takes no more than the limit, and the others' parts stay."""
    lines = lines_of(manifest)
    more = [
        {**line, "id": f"more-{number}-{line['audio_filepath']}", "offset": 0.0}
        for number in range(400)
        for line in lines
        if line["speaker"] == "train-01"
    ]
    read = tmp_path / "read"
    planted(monkeypatch, "train-01", lambda: read.open("a").write("x"))
    large = written(manifest.with_name("large.jsonl"), lines + more)
    limit = {"local.most-utterances": 7}
    found = sum_over(large, "train-00", "train-01", "train-02", **limit)
    assert 1 <= len(read.read_text()) <= 7
    part = sum_over(large, "train-01", **limit)
    assert part.any()
    assert torch.equal(found - part, sum_over(manifest, "train-00", "train-02", **limit))


def recorded(*seconds):
    return [
        Utterance(
            id=str(index), speaker="s", split="t", audio=".", text="a", source="", duration_seconds=length
        )
        for index, length in enumerate(seconds)
    ]


def chosen(utterances, round_number=1, *, most=100, seconds=1000.0):
    limit = SpeechLimit(utterances=most, seconds=seconds)
    return limit.choose(utterances, 30.0, SpeakerRound(run="r", round_number=round_number, speaker="s"))


def test_within_the_limits_everything_is_used():
    few = recorded(*[1.0] * 10)
    assert chosen(few, most=10, seconds=10.0) == tuple(few)


def test_beyond_them_a_part_is_drawn_anew_each_round_in_the_order_of_the_source():
    many = recorded(*[1.0] * 50)
    parts = [[int(one.id) for one in chosen(many, number, most=5)] for number in range(40)]
    assert all(len(part) == 5 and part == sorted(part) for part in parts)
    assert len({index for part in parts for index in part}) > 40  # each has a turn some time
    assert chosen(many, 3, most=5) == chosen(many, 3, most=5)


def test_seconds_are_a_limit_too_and_an_unknown_length_counts_as_the_longest():
    lengths = chosen(recorded(*np.linspace(1, 20, 30)), seconds=25.0)
    assert sum(one.duration_seconds for one in lengths) <= 25.0
    assert len(chosen(recorded(*[None] * 10), seconds=95.0)) == 3


def test_one_is_used_even_if_it_alone_is_too_long():
    assert len(chosen(recorded(20.0, 20.0), seconds=5.0)) == 1


def test_steps_bound_what_is_read():
    flat = {**default_config(), "local.epochs": 0, "local.steps": 4}
    assert RunConfig.from_flat(flat).local.most_of_a_speaker == {"utterances": 20, "seconds": 300.0}
    flat |= {"local.batch-size": 0, "local.batch-seconds": 120.0}
    flat |= {"local.most-seconds": 1000.0}
    assert RunConfig.from_flat(flat).local.most_of_a_speaker == {"utterances": 100, "seconds": 480.0}


def test_a_budget_that_is_too_small_for_much_speech_is_refused_with_a_larger_one(manifest):
    """Else all with much speech would count as zero, and the server would not know. Checked at
    registration alone: a machine that becomes slower during a run must not end its node's part."""
    short = config(**{"local.processor-seconds": 0.01})
    here = Node.of(short, {"corpus-path": str(manifest), "limits": "none"})
    with pytest.raises(ConfigError, match=r"local.processor-seconds = 0.01: .*set it to \d+, or") as fault:
        here.require_time()
    assert "local.most-seconds = 300 of speech takes about" in str(fault.value)
    sum_over(manifest, "train-00", **{"local.processor-seconds": 0.01})  # counts as zero, perhaps


def test_bad_audio_of_one_costs_the_others_nothing(manifest):
    expected = sum_over(without(manifest, "train-01"), "train-00", "train-02")
    for file in manifest.parent.glob("train-01-*.flac"):
        soundfile.write(file.with_suffix(".wav"), np.full(16000, np.nan, np.float32), 16000, "FLOAT")
        file.write_bytes(file.with_suffix(".wav").read_bytes())
    assert torch.equal(sum_over(manifest, "train-00", "train-01", "train-02"), expected)


def test_who_has_no_usable_audio_takes_no_time(manifest):
    """With `local.steps` the trainer looks for batches until it has enough."""
    for file in manifest.parent.glob("train-01-*.flac"):
        file.write_bytes(b"no sound")
    training = SpeakerTraining(
        store=ExampleStore(load_corpus("manifest", manifest), MODEL_PRESETS["tiny"].features),
        trainer=None,
        limit=SpeechLimit(utterances=9, seconds=99.0),
        longest_seconds=30.0,
    )
    with pytest.raises(AudioError, match="none of the audio"):
        training.train(SpeakerRound(run="r", round_number=1, speaker="train-01"), "train", VECTOR, None)


def test_compiled_code_which_remembers_shapes_is_refused_in_a_private_run():
    with pytest.raises(ValueError, match=r"local\.compile = true: refused in a private run"):
        RunConfig.from_flat({**default_config(), "local.compile": True})
    RunConfig.from_flat({**default_config(), "local.compile": True, "privacy.noise-multiplier": 0.0})
