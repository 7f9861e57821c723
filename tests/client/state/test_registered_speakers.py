"""A node whose speech changes during a run: a number stays the same speaker, or no speaker is trained."""

import json
import logging

import pytest
import torch
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict

from cli.composing import default_config
from client import speaker_processes
from client.app import app
from client.state import registered_speakers
from privacy import ClipBounds, Quantiser
from privacy.released_metrics import STATISTICS
from recipes import ConfigError
from speech.model.ctc_transformer import build_model
from strategies import bind
from tests.corpora import make_corpus
from tests.strategies import flower  # noqa: F401  (sets whose task this is)
from tests.strategies.federation import integers_of
from wire.messages import Answer, Task, pack_vector

LAYOUT, VECTOR = bind(build_model("tiny"))
BOUNDS = ClipBounds.of("uniform", 0.5, LAYOUT, statistics=len(STATISTICS))
QUANTISER = Quantiser.of(BOUNDS)


@pytest.fixture
def hospital(tmp_path):
    """A node of a deployment with three speakers, and its manifest."""
    manifest = make_corpus(tmp_path, {"train": 3}, utterances=1)
    own = {"corpus-kind": "manifest", "corpus-path": str(manifest), "limits": "none"}
    context = Context(run_id=1, node_id=2, node_config=own, state=RecordDict(), run_config=default_config())
    yield context, manifest
    forget()


def forget():
    """What a new ClientApp process knows: nothing."""
    speaker_processes.forget()


def change(manifest, keep):
    """Let the manifest hold only the lines of the speakers that `keep` accepts, and forget it."""
    lines = [line for line in manifest.read_text().splitlines() if keep(json.loads(line)["speaker"])]
    manifest.write_text("\n".join(lines) + "\n")
    forget()


def register_nodes(context):
    message = Message(RecordDict({"query": ConfigRecord()}), 2, MessageType.QUERY)
    return app(message, context).content["answer"]["dataset"]


def train(context, dataset, *speakers, portion="train 0 1"):
    """The reply to a task for speakers, by number."""
    task = Task(
        round_number=1,
        nonce="n",
        layout=LAYOUT.digest,
        dataset=dataset,
        portion=portion,
        speakers=speakers,
        bounds=BOUNDS,
        quantiser=QUANTISER,
    )
    return app(task.to_message(2, pack_vector(VECTOR), 600.0), context)


def sum_of(context, dataset, speaker):
    """The sum of one speaker, as integers, and the data set that the node reports."""
    answer = Answer.from_message(train(context, dataset, speaker))
    return integers_of(answer, BOUNDS, QUANTISER), answer.dataset


def test_speakers_who_are_gone_count_as_zero_and_the_others_keep_their_numbers(hospital, caplog):
    context, manifest = hospital
    dataset = register_nodes(context)
    before = [sum_of(context, dataset, number)[0] for number in range(3)]
    change(manifest, lambda speaker: speaker != "train-00")
    with caplog.at_level(logging.WARNING, logger="murmuration.client"):
        after = [sum_of(context, dataset, number) for number in range(3)]
    assert not after[0][0].any()
    assert torch.equal(after[1][0], before[1])
    assert torch.equal(after[2][0], before[2])
    assert all(now != dataset for _, now in after)  # the node reports it
    logged = [one.getMessage() for one in caplog.records if "registration" in one.getMessage()]
    assert logged == [
        "speech has changed since registration: gone, and counted as zero: 1 speaker; new, and not drawn "
        "before a new run: 0 speakers"
    ]


def test_new_speakers_have_no_number(hospital):
    context, manifest = hospital
    everyone = manifest.read_text()
    change(manifest, lambda speaker: speaker != "train-00")
    dataset = register_nodes(context)
    before = [sum_of(context, dataset, number)[0] for number in range(2)]
    manifest.write_text(everyone)  # train-00 would take number 0
    forget()
    assert all(torch.equal(sum_of(context, dataset, number)[0], before[number]) for number in range(2))
    reply = train(context, dataset, 2)
    assert "problem" in reply.content["answer"]


def test_a_node_that_forgot_its_registered_speakers_trains_nobody(hospital):
    context, manifest = hospital
    dataset = register_nodes(context)
    change(manifest, lambda speaker: speaker != "train-00")
    context.state = RecordDict()  # its SuperNode was started anew
    reply = train(context, dataset, 0)
    assert "has changed since registration (it has 2 speakers now)" in reply.content["answer"]["problem"]


def test_a_node_that_was_started_anew_with_the_same_speech_goes_on(hospital):
    context, _ = hospital
    dataset = register_nodes(context)
    context.state = RecordDict()
    total, now = sum_of(context, dataset, 1)
    assert total.any()
    assert now == dataset


def test_a_node_that_was_started_anew_with_another_split_of_the_same_speech_trains_nobody(tmp_path):
    manifest = make_corpus(tmp_path, {"train": 2, "more": 2}, utterances=1)
    own = {"corpus-kind": "manifest", "corpus-path": str(manifest), "limits": "none"}
    run = {"run_id": 1, "node_id": 2, "run_config": default_config()}
    dataset = register_nodes(Context(node_config=own, state=RecordDict(), **run))
    forget()
    anew = Context(node_config={**own, "corpus-split": "more"}, state=RecordDict(), **run)
    assert register_nodes(anew) == dataset  # the whole corpus has one digest
    anew.state = RecordDict()
    reply = train(anew, dataset, 0)
    forget()
    assert "has changed since registration" in reply.content["answer"]["problem"]


def test_the_registration_of_another_data_set_is_not_taken():
    state = RecordDict()
    registered_speakers.keep(state, "old", ["a"])
    with pytest.raises(ConfigError, match="since registration"):
        registered_speakers.called(state, "asked", "now", ["b"])
