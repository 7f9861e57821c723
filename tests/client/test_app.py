"""The ClientApp's answers, called as Flower calls it: a message and a context in, a message out."""

import json
import math
import weakref
from dataclasses import replace

import pytest
import torch
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict

from cli.composing import default_config
from client import speaker_processes
from client.app import app
from client.policy.training_counts import FILE as COUNTS
from client.punctuality import TOO_LATE
from client.simulation.divided import DividedTask
from client.simulation.flower_seam import _with_content
from optim.trainable import freeze, frozen_digest
from privacy import ClipBounds, Quantiser
from privacy.group_statistics import RunStatistics, bounds_with_statistics
from privacy.layer_groups import layer_groups
from privacy.released_metrics import STATISTICS
from recipes import RunConfig, seed_model
from server.factory import make_bounds
from speech.model.checkpoint import load_model, save_model
from speech.model.ctc_transformer import build_model
from speech.text import ENGLISH
from strategies import bind
from tests.corpora import make_corpus
from tests.strategies import flower  # noqa: F401  (sets whose task this is)
from tests.strategies.federation import integers_of
from wire.messages import Answer, Task, pack_vector, unpack_vector

SPEAKERS = 5


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"), {"train": SPEAKERS, "test": 1})


def context(manifest, index=0, parts=1, node_config=None, **settings):
    flat = {**default_config(), "corpus.kind": "manifest", "corpus.path": str(manifest), **settings}
    node_config = node_config or {"partition-id": index, "num-partitions": parts}
    return Context(run_id=1, node_id=2, node_config=node_config, state=RecordDict(), run_config=flat)


def ask(context, **question):
    message = Message(RecordDict({"query": ConfigRecord(question)}), 2, MessageType.QUERY)
    return app(message, context).content["answer"]


def task(speakers, layout=None, bound=0.5, raw_metrics=False, adaptive=False, language="en"):
    own_layout, vector = bind(build_model("tiny", language, seed=0))
    bounds = ClipBounds.of("uniform", bound, own_layout, statistics=len(STATISTICS), adaptive=adaptive)
    made = Task(
        round_number=1,
        nonce="abc",
        layout=layout or own_layout.digest,
        speakers=speakers,
        bounds=bounds,
        quantiser=Quantiser.of(bounds),
        raw_metrics=raw_metrics,
    )
    return made.to_message(2, pack_vector(vector), 600.0), made


def test_partitions_hold_every_speaker_once(manifest):
    assert [ask(context(manifest, i, 3))["speakers"] for i in range(3)] == [2, 2, 1]


def test_all_partitions_name_the_same_data_set(manifest):
    assert len({ask(context(manifest, i, 3))["dataset"] for i in range(3)}) == 1


def test_more_nodes_than_speakers_are_refused_with_both_numbers(manifest):
    problem = ask(context(manifest, 0, 8))["problem"]
    assert "has 5 speakers" in problem
    assert "8 nodes" in problem
    assert "at most 5 nodes" in problem


def test_a_node_itself_names_the_path_of_its_speech(manifest, tmp_path):
    own = make_corpus(tmp_path / "own", {"train": 2})
    node_config = {"corpus-kind": "manifest", "corpus-path": str(own)}
    assert ask(context(manifest, node_config=node_config))["speakers"] == 2


def test_the_reply_is_one_sum_within_the_bounds(manifest):
    message, made = task((0, 2, 4))
    answer = Answer.from_message(app(message, context(manifest)))
    assert answer.count == 3
    integers = integers_of(answer, made.bounds, made.quantiser)
    assert integers.shape == (made.bounds.size,)
    norm = float(integers.double().norm()) * made.quantiser.step
    assert 0 < norm <= 3 * made.bounds.total


@pytest.mark.parametrize("rule", ["uniform", "global"])
def test_a_node_takes_statistics_by_group_and_no_other_number(manifest, rule):
    layout, vector = bind(build_model("tiny", seed=0))
    bounds = bounds_with_statistics(rule, 0.05, layout, by_group=True)
    groups, made = layer_groups(layout), task((0,), raw_metrics=True)[1]
    assert bounds.statistics == 2 + len(groups) * (1 if rule == "global" else 2)

    def answer(bounds):
        changed = replace(made, bounds=bounds, quantiser=Quantiser.of(bounds))
        reply = app(changed.to_message(2, pack_vector(vector), 600.0), context(manifest))
        return reply if "problem" in reply.content["answer"] else Answer.from_message(reply)

    got, quantiser = answer(bounds), Quantiser.of(bounds)
    integers = integers_of(got, bounds, quantiser)
    assert integers.double().norm() <= 2**quantiser.bits
    released = integers[bounds.statistics_part].double()
    _, found = RunStatistics.in_bounds(layout, bounds).read(released, 1.0, bounds, quantiser)
    for group, one in zip(groups, found, strict=True):
        own = math.hypot(*(got.raw.update_norms[tensor] for tensor in group.tensors))
        assert one.update_norm == pytest.approx(own, rel=1e-3)
    for statistics in (1, 3, bounds.statistics + 1):
        other = ClipBounds.of(rule, 0.05, layout, statistics=statistics)
        assert "ValueError" in answer(other).content["answer"]["problem"]


@pytest.mark.parametrize(("speakers", "words"), [((0, 0), "ValueError"), ((0, 99), "ValueError")])
def test_a_node_trains_nobody_twice_and_nobody_it_does_not_hold(manifest, speakers, words):
    message, _ = task(speakers)
    assert words in app(message, context(manifest)).content["answer"]["problem"]


def test_a_speaker_who_was_trained_too_often_counts_as_zero_and_the_others_as_ever(manifest):
    own = {"corpus-path": str(manifest), "limits": "none"}

    def total(*speakers, **limits):
        torch.manual_seed(0)  # the same model each time
        message, made = task(speakers)
        answer = Answer.from_message(app(message, context(manifest, node_config={**own, **limits})))
        assert answer.count == len(speakers)
        return integers_of(answer, made.bounds, made.quantiser)

    alone, other = total(1), total(0)
    assert total(0, 1, **{"most-rounds-per-speaker": 2}).equal(total(0, 1))  # both were trained once before
    total(0)
    assert total(0, 1, **{"most-rounds-per-speaker": 4}).equal(alone)
    assert total(0, **{"most-rounds-per-speaker": 4}).count_nonzero() == 0
    assert not alone.equal(other)


def test_where_bounds_adapt_each_speaker_adds_a_centred_bit_per_layer(manifest):
    message, made = task((0, 2, 4), bound=1e3, adaptive=True)
    answer = Answer.from_message(app(message, context(manifest)))
    bits = integers_of(answer, made.bounds, made.quantiser)[made.bounds.indicators_part]
    assert len(bits) == made.bounds.model_slices
    assert (bits > 0).all()  # no speaker is clipped at such a bound
    assert float(bits.double().norm()) * made.quantiser.step <= 3 * made.bounds.bounds[-1]


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_parts_of_a_task_are_the_nodes_whole_answer_to_the_bit(manifest, adaptive):
    message, made = task((0, 2, 4, 1), bound=1e-2 if adaptive else 0.5, adaptive=adaptive)
    answers, of = [], context(manifest)
    divided = DividedTask(message, _with_content, lambda *answer: answers.append(answer))
    divided.divide()
    parts = [divided.part(0, 3), divided.part(3, 4)]
    for part in parts[::-1]:
        divided.answered(app(part, of), of)
    ((joined, kept),) = answers
    whole, joined = (Answer.from_message(one) for one in (app(message, of), joined))
    assert bytes(joined.packed) == bytes(whole.packed) and kept is of
    fields = [replace(one, packed=None) for one in (joined, whole)]
    assert fields[0] == fields[1] and whole.count == 4 == len(made.speakers)


def test_an_answer_after_the_rounds_deadline_is_a_few_words(manifest):
    message, _ = task((0,))
    message.metadata.__dict__["_created_at"] -= 600.0
    content = app(message, context(manifest)).content
    assert list(content) == ["answer"]
    assert content["answer"]["problem"] == TOO_LATE


def test_the_reply_has_nothing_of_single_speakers(manifest):
    message, _ = task((0, 2))
    reply = app(message, context(manifest))
    assert set(reply.content["answer"]) == {"version", "round", "nonce", "layout", "dataset", "count"}
    assert list(reply.content["sum"]) == ["packed"]
    assert set(reply.content) == {"answer", "sum"}


def test_a_part_of_a_simulation_sends_raw_metrics_if_asked(manifest):
    message, _ = task((0, 2), raw_metrics=True)
    reply = app(message, context(manifest))
    assert set(reply.content) == {"answer", "sum", "not-private"}
    raw = Answer.from_message(reply).raw
    assert raw.trained == 2
    assert raw.train_loss > 0
    assert raw.clipped_share >= 0
    tensors = len(list(build_model("tiny", "en").parameters()))
    assert len(raw.update_norms) == tensors and all(norm > 0 for norm in raw.update_norms)
    tighter, _ = task((0, 2), raw_metrics=True, bound=1e-3)  # the norms are those before clipping
    unclipped = Answer.from_message(app(tighter, context(manifest))).raw.update_norms
    assert unclipped == pytest.approx(raw.update_norms, rel=1e-3)


@pytest.mark.parametrize("own", [True, False], ids=["its own corpus", "no partition"])
def test_a_node_of_a_deployment_refuses_raw_metrics(manifest, own):
    """Partition numbers beside a corpus of its own do not make a node a simulated one."""
    speech = {"corpus-kind": "manifest", "corpus-path": str(manifest), "partition-id": 0, "num-partitions": 1}
    message, _ = task((0,), raw_metrics=True)
    settings = {} if own else {"corpus.kind": "embedded", "corpus.path": ""}
    reply = app(
        message, context(manifest, node_config=speech if own else {"corpus-split": "train"}, **settings)
    )
    assert set(reply.content) == {"answer"}
    assert "run.raw-metrics" in reply.content["answer"]["problem"]


def test_scaffold_keeps_a_control_variate_per_trained_speaker_and_sends_their_change(manifest):
    here = context(manifest, **{"local.algorithm": "scaffold", "privacy.noise-multiplier": 0.0})
    message, made = task((0, 2))
    control = torch.full((made.bounds.model_size,), 1e-3)
    message.content["control"] = pack_vector(control)
    reply = app(message, here)
    own = [unpack_vector(here.state[f"control-{speaker}"]) for speaker in (0, 2)]
    assert set(here.state) == {"control-0", "control-2"}
    assert not torch.equal(*own)
    torch.testing.assert_close(unpack_vector(reply.content["control"]), sum(own))
    # From c_i = 0 a mean step is g + c, and c_i becomes g: of a norm within the gradient clip.
    assert all(0 < float(one.norm()) <= 1.0 + 1e-3 for one in own)


def test_a_control_variate_is_neither_read_nor_sent_unless_the_algorithm_is_scaffold(manifest):
    message, made = task((0,))
    message.content["control"] = pack_vector(torch.ones(made.bounds.model_size))
    here = context(manifest)
    assert set(app(message, here).content) == {"answer", "sum"}
    assert not here.state


def test_a_speaker_that_cannot_be_trained_counts_as_zero(tmp_path):
    manifest = make_corpus(tmp_path, {"train": 2})
    for file in tmp_path.glob("train-00-*.flac"):
        file.write_bytes(b"no audio")
    message, made = task((0,))
    answer = Answer.from_message(app(message, context(manifest)))
    assert answer.count == 1
    assert not integers_of(answer, made.bounds, made.quantiser).any()


def test_another_model_is_refused_by_the_node(manifest):
    message, _ = task((0,), layout="x" * 64)
    answer = app(message, context(manifest)).content["answer"]
    assert set(answer) == {"version", "problem"}


FROZEN = {"model.trainable": "norm.*,output.*"}


def seed_digest(path="embedded"):
    model = load_model(seed_model(path)).model
    freeze(model, FROZEN["model.trainable"])
    return frozen_digest(model)


def test_what_is_not_trained_is_the_seed_models_and_stays_out_of_the_sum(manifest):
    trained = load_model(seed_model("embedded")).model
    freeze(trained, FROZEN["model.trainable"])
    layout, vector = bind(trained)
    bounds = ClipBounds.of("uniform", 0.5, layout, statistics=len(STATISTICS))
    made = Task(
        round_number=1,
        nonce="abc",
        layout=layout.digest,
        frozen=frozen_digest(trained),
        speakers=(0, 2),
        bounds=bounds,
        quantiser=Quantiser.of(bounds),
    )
    message = made.to_message(2, pack_vector(vector), 600.0)
    answer = Answer.from_message(app(message, context(manifest, **FROZEN)))
    integers = integers_of(answer, bounds, made.quantiser)
    assert integers.shape == (2 * 96 + 30 * 97 + len(STATISTICS),)
    assert integers[: layout.size].count_nonzero() > 0

    other = replace(made, frozen="x" * 64).to_message(2, pack_vector(vector), 600.0)
    refused = app(other, context(manifest, **FROZEN)).content["answer"]
    assert "seed-path" in refused["problem"]


GROUPS = {
    "privacy.clip-rule": "global",
    "privacy.clip-bound": 0.01,
    "privacy.clip-groups": "*norm*=0.2,output.*=0.05,*=0.75",
}


def test_a_node_keeps_each_clip_group_within_its_bound_and_refuses_another_order(manifest, caplog):
    section = RunConfig.from_flat({**default_config(), **GROUPS}).privacy
    layout, vector = bind(build_model("tiny"), section.groups)
    bounds, quantiser = make_bounds(section, layout)
    made = replace(task((0,))[1], layout=layout.digest, bounds=bounds, quantiser=quantiser)
    message = made.to_message(2, pack_vector(vector), 600.0)
    answer = Answer.from_message(app(message, context(manifest, **GROUPS)))
    integers = integers_of(answer, bounds, quantiser).long()
    for begin, end, bound in zip(bounds.offsets, bounds.offsets[1:], bounds.bounds, strict=False):
        norm = float(integers[begin:end].double().norm()) * quantiser.step
        assert 0.99 * bound < norm <= bound or end == bounds.size  # a speaker's training goes beyond 0.01
    assert integers.double().norm() <= 2**quantiser.bits

    again = made.to_message(2, pack_vector(vector), 600.0)  # to a node that knows of no groups
    assert "problem" in app(again, context(manifest)).content["answer"]
    assert "privacy.clip-groups" in caplog.text


def test_with_clip_groups_a_node_sends_the_same_update_tensor_by_tensor(manifest):
    """Far below the bounds; the speaker process has the order of the server and the node."""
    start = load_model(seed_model("embedded")).model.state_dict()
    found = []
    for changes in ({}, GROUPS):
        section = RunConfig.from_flat({**default_config(), **changes, "privacy.clip-bound": 50.0}).privacy
        model = build_model("tiny")
        model.load_state_dict(start)
        layout, vector = bind(model, section.groups)
        bounds, quantiser = make_bounds(section, layout)
        made = replace(task((0,))[1], layout=layout.digest, bounds=bounds, quantiser=quantiser)
        message = made.to_message(2, pack_vector(vector), 600.0)
        answer = Answer.from_message(app(message, context(manifest, **changes)))
        update = integers_of(answer, bounds, quantiser)[: layout.size].double() * quantiser.step
        found.append(layout.views(update))
    plain, grouped = found
    assert list(plain) != list(grouped)
    for name, value in plain.items():
        torch.testing.assert_close(grouped[name], value, rtol=1e-2, atol=3 * 50 / 2**20)
    assert max(float(value.abs().max()) for value in plain.values()) > 100 * 50 / 2**20


def test_a_node_with_another_frozen_model_is_refused_at_registration(manifest, tmp_path):
    own = {"corpus-path": str(manifest), "limits": "none"}
    digest = seed_digest()
    assert ask(context(manifest, node_config=own, **FROZEN), frozen=digest)["speakers"] == SPEAKERS
    save_model(tmp_path / "other.safetensors", build_model("tiny", seed=1), "tiny")
    elsewhere = {**own, "seed-path": str(tmp_path / "other.safetensors")}
    problem = ask(context(manifest, node_config=elsewhere, **FROZEN), frozen=digest)["problem"]
    assert "not those of the server" in problem and "--node-config 'seed-path" in problem


def test_a_node_may_have_the_seed_model_elsewhere(manifest, tmp_path):
    here = tmp_path / "here.safetensors"
    save_model(here, build_model("tiny", seed=1), "tiny")
    settings = {**FROZEN, "model.seed": "/on/the/server.safetensors"}
    question = {"frozen": seed_digest(str(here))}
    missing = ask(context(manifest, **settings), **question)["problem"]
    assert "model.seed = '/on/the/server.safetensors' is not here" in missing and "seed-path" in missing
    node_config = {"corpus-path": str(manifest), "seed-path": str(here)}
    assert ask(context(manifest, node_config=node_config, **settings), **question)["speakers"] == SPEAKERS


def test_the_model_that_came_is_let_go_before_the_sum_is_packed(manifest, monkeypatch):
    message, _ = task((0, 1))
    model = weakref.ref(message.content["model"])
    alive = []
    pack = Answer.of
    monkeypatch.setattr(Answer, "of", lambda *parts: (alive.append(model() is not None), pack(*parts))[1])
    assert Answer.from_message(app(message, context(manifest))).count == 2
    assert alive == [False]


def test_an_exceptions_text_stays_on_the_node(manifest, monkeypatch):
    def boom(*arguments):
        raise RuntimeError("the patient said: my secret is 42")

    monkeypatch.setattr("client.node.Node.train", boom)
    message, _ = task((0,))
    reply = app(message, context(manifest))
    assert "secret" not in json.dumps(dict(reply.content["answer"]))
    assert "RuntimeError" in reply.content["answer"]["problem"]


def test_a_missing_corpus_is_named_in_a_simulation(tmp_path):
    assert "nowhere.jsonl" in ask(context(tmp_path / "nowhere.jsonl"))["problem"]


@pytest.mark.parametrize(
    "line",
    [
        {"text": ["the", "secret"], "speaker": "a"},
        {"text": "one", "speaker": "a", "audio_filepath": "secret.wav"},
        {"text": "one", "speaker": "a", "id": ["secret"]},
        {"text": "one", "speaker": {"secret": 1}},
    ],
)
def test_what_is_wrong_with_a_nodes_own_speech_stays_on_the_node(tmp_path, line, caplog):
    manifest = tmp_path / "secret-ward" / "manifest.jsonl"
    manifest.parent.mkdir()
    whole = {"audio_filepath": "x.wav", "duration": 1.0, "split": "train", **line}
    manifest.write_text(json.dumps(whole) + "\n")
    answer = ask(context(manifest, node_config={"corpus-path": str(manifest)}))
    assert "secret" not in json.dumps(dict(answer))
    assert "CorpusError" in answer["problem"] and "murmur doctor" in answer["problem"]
    assert "secret" in caplog.text


def test_a_node_opens_no_path_that_the_server_names(manifest):
    problem = ask(context(manifest, node_config={"corpus-split": "train"}))["problem"]
    assert "opens no path that a server names" in problem and "--node-config 'corpus-path=" in problem


@pytest.mark.parametrize("own", [{}, {"corpus-language": "en"}], ids=["no rule", "a language"])
@pytest.mark.parametrize("letter", "ewz")
def test_no_server_counts_utterances_by_asking_with_other_characters(manifest, own, letter):
    """An answer for each set of characters would tell which letters the transcripts have, and how often."""
    characters = ENGLISH.characters.replace(letter, "")
    asked = {"corpus.language": own.get("corpus-language", "xx"), "corpus.characters": characters}
    asked |= {"corpus.unspelled": "skip", "model.seed": "random"}
    answer = ask(context(manifest, node_config={"corpus-path": str(manifest), **own}, **asked))
    assert "characters" in answer["problem"]
    assert not {"speakers", "skipped", "dataset"} & set(answer)


@pytest.mark.parametrize(
    "part",
    [
        {"partition-id": 0},
        {"num-partitions": 3},
        {"partition-id": 3, "num-partitions": 3},
        {"partition-id": -1, "num-partitions": 3},
        {"partition-id": "0", "num-partitions": 3},
    ],
)
def test_a_part_that_cannot_be_is_refused(manifest, part):
    problem = ask(context(manifest, node_config=part))["problem"]
    assert "needs both" in problem and f"partition-id={part.get('partition-id')}" in problem


@pytest.mark.parametrize(
    ("setting", "remedy"),
    [
        ("seed-path", "copy the server's seed model there"),
        ("corpus-path", "`murmur doctor` there"),
        ("feature-cache", "`murmur doctor` there"),
        ("corpus-kind", "`murmur doctor` there"),
        ("corpus-language", "set it to one of 'de', 'en', 'fr'"),
        ("corpus-unspelled", "set it to one of 'skip', 'map'"),
        ("corpus-max-seconds", "a number of seconds above 0"),
        ("models", 'or models="any"'),
        ("limits", "set it to 'safe'"),
        ("most-epsilon", "a number from 0 on"),
    ],
)
def test_what_a_nodes_owner_wrote_stays_on_the_node(manifest, tmp_path, caplog, setting, remedy):
    """At registration the server is told which setting it is; the node's own log has the value too."""
    (tmp_path / "file").touch()
    value = str(tmp_path / "file" / "of-the-owner")
    own = {"corpus-path": str(manifest), "limits": "none", setting: value}
    settings = FROZEN if setting == "seed-path" else {}
    problem = ask(context(manifest, node_config=own, **settings), frozen=seed_digest())["problem"]
    assert remedy in problem
    assert setting in problem or "its speech or its seed model" in problem
    assert value in caplog.text
    assert "of-the-owner" not in problem and str(tmp_path) not in problem


def test_a_folder_of_the_nodes_is_not_named_to_the_server(manifest, tmp_path, caplog):
    (tmp_path / "open-to-all").mkdir()
    (tmp_path / "open-to-all").chmod(0o755)
    own = {"corpus-path": str(manifest), "node-state": str(tmp_path / "open-to-all")}
    problem = ask(context(manifest, node_config=own))["problem"]
    assert problem.startswith("--node-config node-state: others may enter the folder; `chmod 700` it")
    assert "open-to-all" in caplog.text and "open-to-all" not in problem


def kept(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_features_of_a_nodes_own_speech_are_kept_only_in_the_folder_that_it_names(manifest, tmp_path):
    shares = {"partition-id": 0, "num-partitions": 1}
    own = {"corpus-path": str(manifest), "limits": "none"}
    default = tmp_path / "cache" / "murmuration" / "features"

    def train(node_config, **settings):
        speaker_processes.forget()
        message, _ = task((0, 1))
        reply = app(message, context(manifest, node_config=node_config, **settings))
        assert Answer.from_message(reply).count == 2

    train(own)
    train(shares, **{"corpus.feature-cache": False})
    assert [path.name for path in kept(tmp_path)] == [COUNTS]
    train({**own, "feature-cache": str(tmp_path / "named")})
    assert len(kept(tmp_path / "named")) == 2 and not kept(default)
    train(shares)
    assert len(kept(default)) == 2


def test_a_node_trains_in_the_language_of_the_run(tmp_path):
    manifest = make_corpus(tmp_path, {"train": 1, "test": 1})
    manifest.write_text(manifest.read_text().replace('"one', '"süß'))
    german = context(manifest, **{"corpus.language": "de", "model.seed": "random"})
    message, made = task((0,), language="de")
    answer = Answer.from_message(app(message, german))
    assert integers_of(answer, made.bounds, made.quantiser).count_nonzero() > 0
    for_english, _ = task((0,))
    assert "problem" in app(for_english, german).content["answer"]
