"""A speaker who has left is not trained, counted or named any more, whatever node and server remember."""

import os

import torch
from flwr.app import Context, RecordDict

from cli.composing import default_config
from client import speaker_processes
from client.state import departure_counts
from client.state.departures import RECORD, Departure, record
from client.state.node_state import node_state
from client.training.process import SpeakerProcess
from tests.client.state.test_registered_speakers import (
    BOUNDS,
    QUANTISER,
    change,
    forget,
    hospital,
    register_nodes,
    sum_of,
    train,
)
from tests.client.test_app import ask, context, task
from tests.corpora import make_corpus
from tests.strategies.federation import integers_of
from wire.messages import Answer, pack_vector
from wire.node_info import NodeInfo
from wire.pseudonyms import key_of, split_tokens, tokens_of

__all__ = ["hospital"]  # a fixture


def leave(*speakers, node_config=None):
    record(node_state(node_config or {}), [Departure.now(speaker, "") for speaker in speakers])


def held(context):
    return NodeInfo.of(ask(context))


def test_who_leaves_during_a_run_counts_as_zero_and_the_others_keep_their_numbers(hospital):
    """In one process, which has the corpus, the speakers and their features in memory."""
    here, _ = hospital
    dataset = register_nodes(here)
    before = [sum_of(here, dataset, number)[0] for number in range(3)]
    assert all(one.any() for one in before)
    leave("train-01")
    after = [sum_of(here, dataset, number) for number in range(3)]
    assert not after[1][0].any()
    assert torch.equal(after[0][0], before[0]) and torch.equal(after[2][0], before[2])
    assert all(now == dataset for _, now in after)  # the server does not learn that a speaker left


def test_who_leaves_while_a_message_is_answered_is_not_trained_any_more(hospital, monkeypatch):
    here, _ = hospital
    dataset = register_nodes(here)
    alone = [sum_of(here, dataset, number)[0] for number in (0, 2)]
    trained = []

    order = SpeakerProcess._order

    def watched(self, speaker_round, *others):
        if not trained:
            leave("train-01")
        trained.append(speaker_round.speaker)
        return order(self, speaker_round, *others)

    monkeypatch.setattr(SpeakerProcess, "_order", watched)
    answer = Answer.from_message(train(here, dataset, 0, 1, 2))
    assert trained == ["train-00", "train-02"] and answer.count == 3
    assert torch.equal(integers_of(answer, BOUNDS, QUANTISER), sum(alone))


def test_a_new_run_does_not_count_them_and_their_numbers_are_the_others(hospital):
    here, _ = hospital
    dataset = register_nodes(here)
    before = [sum_of(here, dataset, number)[0] for number in range(3)]
    leave("train-00")
    forget()
    here.state = RecordDict()
    assert held(here).speakers == 2
    assert torch.equal(sum_of(here, dataset, 0)[0], before[1])
    assert torch.equal(sum_of(here, dataset, 1)[0], before[2])
    assert "problem" in train(here, dataset, 2).content["answer"]


def test_after_a_restart_during_a_run_the_numbers_are_those_of_registration(hospital):
    """One left before it, one leaves after it; then the SuperNode forgets the registered speakers."""
    here, _ = hospital
    dataset = register_nodes(here)
    before = [sum_of(here, dataset, number)[0] for number in range(3)]
    leave("train-00")
    assert register_nodes(here) == dataset
    leave("train-01")
    here.state = RecordDict()
    forget()
    assert not sum_of(here, dataset, 0)[0].any()
    assert torch.equal(sum_of(here, dataset, 1)[0], before[2])


def test_after_a_restart_without_a_note_nobody_is_trained(hospital, monkeypatch):
    here, _ = hospital
    leave("train-00")
    monkeypatch.setattr("client.state.departure_counts.replace_durably", refuse)
    dataset = register_nodes(here)
    here.state = RecordDict()
    assert (
        "no longer knows the speakers that it registered"
        in train(here, dataset, 0).content["answer"]["problem"]
    )


def test_who_left_before_a_run_and_is_out_of_the_record_is_not_trained_in_it(hospital):
    """As if they came back during the run: the numbers of the others would be shifted."""
    here, _ = hospital
    leave("train-00")
    dataset = register_nodes(here)
    before = [sum_of(here, dataset, number)[0] for number in range(2)]
    (node_state({}) / RECORD).unlink()
    forget()
    assert all(torch.equal(sum_of(here, dataset, number)[0], before[number]) for number in range(2))
    assert "problem" in train(here, dataset, 2).content["answer"]
    here.state = RecordDict()  # its SuperNode was started anew
    assert "no longer knows the speakers" in train(here, dataset, 0).content["answer"]["problem"]


def refuse(*arguments):
    raise PermissionError(13, "Permission denied")


def begin(context, run, resumed=False):
    """The registration for a run, as another run of Flower's than any before."""
    context.run_id += 1
    context.state = RecordDict()
    forget()
    return NodeInfo.of(ask(context, run=run, resumed=resumed))


def test_a_resumed_run_counts_as_many_as_it_did_and_who_left_since_counts_as_zero(hospital):
    """One had left before it began, one left since. Another run counts those who are there."""
    here, _ = hospital
    dataset = register_nodes(here)
    whole = [sum_of(here, dataset, number)[0] for number in range(3)]
    leave("train-00")
    assert begin(here, "a" * 32).speakers == 2
    leave("train-02")
    resumed = begin(here, "a" * 32, resumed=True)
    assert (resumed.speakers, resumed.left, resumed.dataset) == (2, 1, dataset)
    assert len(split_tokens(resumed.tokens)) == 1
    for _ in range(2):
        assert torch.equal(sum_of(here, dataset, 0)[0], whole[1])
        assert not sum_of(here, dataset, 1)[0].any()
        here.state = RecordDict()  # the SuperNode starts again during the run
        forget()
    for run, goes_on in (("b" * 32, False), ("c" * 32, True), ("../left", True), ("a" * 32, False)):
        now = begin(here, run, goes_on)
        assert (now.speakers, now.left) == (1, 0)


def test_a_run_is_resumed_of_which_one_machine_has_many_parts(hospital):
    """A simulation notes a count for each part whose speakers have left; no part's takes another's place."""
    simulated = {"partition-id": 0, "num-partitions": 300}
    for part in range(departure_counts.KEPT + 1):
        departure_counts.note(simulated, "a" * 32, f"part {part}", part)
        departure_counts.note(simulated, 7, part, part)
    for part in range(departure_counts.KEPT + 1):
        assert departure_counts.noted(simulated, "a" * 32, f"part {part}") == part
        assert departure_counts.noted(simulated, 7, part) == part


def test_no_server_fills_a_nodes_disk_by_one_runs_counts(hospital, monkeypatch):
    here, _ = hospital
    monkeypatch.setattr(departure_counts, "KEPT", 3)
    for number in range(5):
        departure_counts.note(here.node_config, "a" * 32, f"another corpus {number}", 1)
    counts = node_state(here.node_config) / departure_counts.FOLDER
    assert len([one for one in counts.rglob("*") if one.is_file()]) == 3
    assert departure_counts.noted(here.node_config, "a" * 32, "another corpus 4") == 1
    assert not any(one.stat().st_mode & 0o077 for one in (counts, *counts.iterdir()))


def test_a_resumed_run_that_is_the_oldest_keeps_the_counts_of_all_its_parts(hospital, monkeypatch):
    here, _ = hospital
    monkeypatch.setattr(departure_counts, "KEPT", 3)
    leave("train-00")
    begin(here, "a" * 32)
    departure_counts.note(here.node_config, "a" * 32, "another part", 5)
    folder = node_state(here.node_config) / departure_counts.FOLDER
    for run in folder.iterdir():
        os.utime(run, (1, 1))
    for run in range(2):
        departure_counts.note(here.node_config, f"another {run}", 1, 1)
    begin(here, "a" * 32, resumed=True)
    assert departure_counts.noted(here.node_config, "a" * 32, "another part") == 5


def test_the_counts_of_the_oldest_runs_are_forgotten(hospital, monkeypatch):
    here, _ = hospital
    monkeypatch.setattr(departure_counts, "KEPT", 3)
    for run in range(5):
        departure_counts.note(here.node_config, run, 1, run)
        folder = node_state(here.node_config) / departure_counts.FOLDER / f"{run}"
        os.utime(folder, (run, run))
    found = [departure_counts.noted(here.node_config, run, 1) for run in range(5)]
    assert found == [None, None, 2, 3, 4]


def test_a_run_is_resumed_where_all_of_a_nodes_speakers_have_left(hospital):
    here, _ = hospital
    assert begin(here, "a" * 32).speakers == 3
    leave("train-00", "train-01", "train-02")
    resumed = begin(here, "a" * 32, resumed=True)
    assert (resumed.speakers, resumed.left, resumed.tokens) == (3, 3, b"")


def test_speech_that_changes_as_well_leaves_them_out(hospital):
    here, manifest = hospital
    dataset = register_nodes(here)
    before = sum_of(here, dataset, 2)[0]
    leave("train-01")
    change(manifest, lambda speaker: speaker != "train-00")
    assert not sum_of(here, dataset, 0)[0].any() and not sum_of(here, dataset, 1)[0].any()
    assert torch.equal(sum_of(here, dataset, 2)[0], before)


def test_their_pseudonym_is_not_sent_any_more(hospital):
    here, _ = hospital
    everybody = held(here)
    leave("train-01")
    now = held(here)
    assert len(split_tokens(everybody.tokens)) == 3 and len(split_tokens(now.tokens)) == 2
    assert set(split_tokens(now.tokens)) < set(split_tokens(everybody.tokens))
    named = Context(
        run_id=1,
        node_id=2,
        node_config={**here.node_config, "speaker-namespace": "a study"},
        state=RecordDict(),
        run_config=default_config(),
    )
    assert held(named).tokens == tokens_of(key_of("a study", ""), ["train-00", "train-02"])


def test_parts_of_one_corpus_are_cut_as_before_and_lose_only_who_left(tmp_path):
    """Else one speaker would be in two parts where the nodes' records differ."""
    manifest = make_corpus(tmp_path, {"train": 5, "test": 1}, utterances=1)
    settings = {"corpus.speaker-namespace": "a study"}
    parts = [context(manifest, part, 2, **settings) for part in range(2)]
    leave("train-02")
    found = [held(one) for one in parts]
    assert [one.speakers for one in found] == [2, 2]
    key = key_of("a study", "")
    assert found[0].tokens == tokens_of(key, ["train-00", "train-04"])
    assert found[1].tokens == tokens_of(key, ["train-01", "train-03"])
    message, made = task((0, 1))
    total = integers_of(Answer.from_message(app_of(parts[0], message)), made.bounds, made.quantiser)
    assert total.any()


def test_a_part_of_a_simulation_that_a_speaker_leaves_keeps_its_numbers(tmp_path):
    manifest = make_corpus(tmp_path, {"train": 3, "test": 1}, utterances=1)
    here = context(manifest)
    held(here)
    before = [part_sum(here, number) for number in range(3)]
    leave("train-00")
    after = [part_sum(here, number) for number in range(3)]
    assert not after[0].any()
    assert torch.equal(after[1], before[1]) and torch.equal(after[2], before[2])


def app_of(context, message):
    from client.app import app

    return app(message, context)


def part_sum(context, number):
    torch.manual_seed(0)  # the same model each time
    message, made = task((number,))
    return integers_of(Answer.from_message(app_of(context, message)), made.bounds, made.quantiser)


def test_a_node_whose_speakers_have_all_left_reports_it(hospital):
    here, _ = hospital
    leave("train-00", "train-01", "train-02")
    assert "all speakers of this node have left" in ask(here)["problem"]


def test_a_record_that_cannot_be_read_trains_nobody_and_names_nobody_to_the_server(hospital, caplog):
    here, _ = hospital
    dataset = register_nodes(here)
    leave("train-01")
    path = node_state({}) / "left.jsonl"
    path.write_text(path.read_text() + "damaged\n")
    problem = train(here, dataset, 0).content["answer"]["problem"]
    assert "DepartureError" in problem and "left.jsonl" not in problem and "train-01" not in problem
    assert "left.jsonl:2: is no entry" in caplog.text


def test_each_node_of_a_machine_may_have_a_record_of_its_own(hospital, tmp_path):
    here, _ = hospital
    leave("train-01")
    other = Context(
        run_id=1,
        node_id=3,
        node_config={**here.node_config, "node-state": str(tmp_path / "other")},
        state=RecordDict(),
        run_config=default_config(),
    )
    assert (held(here).speakers, held(other).speakers) == (2, 3)


def test_features_that_a_training_under_way_wrote_go_with_the_next_message(hospital, tmp_path):
    here, _ = hospital
    here.node_config = {**here.node_config, "feature-cache": str(tmp_path / "features")}
    dataset = register_nodes(here)
    for number in range(3):
        sum_of(here, dataset, number)
    files = set((tmp_path / "features").rglob("*.safetensors"))
    assert len(files) == 3
    leave("train-01")
    sum_of(here, dataset, 0)
    left = set((tmp_path / "features").rglob("*.safetensors"))
    assert left < files and len(left) == 2
    sum_of(here, dataset, 1)
    assert set((tmp_path / "features").rglob("*.safetensors")) == left


def test_the_process_that_had_their_speech_in_memory_is_ended(hospital):
    here, _ = hospital
    dataset = register_nodes(here)
    sum_of(here, dataset, 1)
    (process,) = [made for _, made in speaker_processes._PROCESSES.values()]
    before = process._process.pid
    leave("train-01")
    sum_of(here, dataset, 0)
    after = process._process.pid
    assert after != before
    sum_of(here, dataset, 0)
    assert process._process.pid == after  # once


def test_a_control_variate_of_theirs_is_dropped(tmp_path):
    manifest = make_corpus(tmp_path, {"train": 2, "test": 1}, utterances=1)
    here = context(manifest, **{"local.algorithm": "scaffold", "privacy.noise-multiplier": 0.0})
    message, made = task((0, 1))
    message.content["control"] = pack_vector(torch.zeros(made.bounds.model_size))
    app_of(here, message)
    assert {"control-0", "control-1"} <= set(here.state)
    leave("train-00")
    message, _ = task((0, 1))
    message.content["control"] = pack_vector(torch.zeros(made.bounds.model_size))
    app_of(here, message)
    assert "control-0" not in here.state and "control-1" in here.state
