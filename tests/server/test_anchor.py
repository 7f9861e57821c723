"""Steps on public speech between rounds: what they change, and what they must not reach."""

import json
import math
import re
import shutil

import pytest
import torch

from cli.composing import default_config, with_absolute_paths
from privacy import read_ledger
from recipes import ConfigError, RunConfig
from server.anchor import Anchor, AnchorSpeech, anchor_in_words
from server.errors import RegistrationError
from server.evaluation import EvaluationPlace, HeldOut
from server.overlaps import require_nobody_in_anchor
from server.storage.checkpoints import Identity, load_checkpoint
from server.storage.populations import require_never_enrolled
from server.storage.run_folder import RunFolder
from speech.errors import CorpusError, SpeechError
from speech.model.ctc_transformer import build_model
from tests.corpora import make_corpus
from tests.server.in_process import federate, recipe
from tests.server.test_averaging import REPEATABLE, kept_model
from tests.server.test_overlaps import node_info
from tests.server.test_run_identity import PLAN, crash_after
from wire.pseudonyms import key_of, tokens_of

ROUNDS = 3


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The server's own: its split 'test' is held out."""
    return make_corpus(tmp_path_factory.mktemp("corpus"), {"train": 5, "test": 1}, utterances=1)


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("public"), {"train": 3, "more": 1}, utterances=2)


def anchored(public, **changes):
    return {
        **REPEATABLE,
        "training.rounds": ROUNDS,
        "training.evaluate-every": ROUNDS,
        "privacy.adaptive-clip": True,
        "server.anchor-corpus": str(public),
        "server.anchor-steps": 2,
        "server.anchor-rate": 0.02,
        "local.batch-size": 2,
        **changes,
    }


def made(corpus, public, **changes):
    """The anchor of a recipe, as the server makes it before it asks any node."""
    config = recipe(corpus, **anchored(public, **changes))
    held_out = HeldOut.of(config.corpus, build_model("tiny"))
    speech = AnchorSpeech.of(config, held_out)
    return speech, config


def anchor_of(corpus, public, **changes):
    speech, config = made(corpus, public, **changes)
    return Anchor(speech, config, None, EvaluationPlace())


@pytest.fixture(scope="module")
def runs(corpus, public, tmp_path_factory):
    """With and without an anchor: the run folder, and the models that nodes got, by round."""
    found = {}
    for steps in (0, 2):
        models = {}
        changes = {"server.anchor-steps": steps} | ({} if steps else {"server.anchor-corpus": ""})
        place = {"run.folder": str(tmp_path_factory.mktemp(f"steps-{steps}"))}
        folder = federate(
            recipe(corpus, **{**anchored(public), **changes, **place}),
            saw=lambda number, vector, models=models: models.update({number: vector.clone()}),
        )
        newest = load_checkpoint(RunFolder(folder).newest_checkpoint())
        found[steps] = folder, models | {ROUNDS + 1: newest.tensors["vector"]}
    return found


def test_each_round_ends_with_the_steps_and_the_ledger_is_the_same(corpus, public, runs):
    (plain, before), (folder, after) = runs[0], runs[2]
    assert torch.equal(after[1], before[1])
    expected = before[2].clone()  # the same noise on the same start
    anchor_of(corpus, public).move_(expected, 1)
    assert torch.equal(after[2], expected) and not torch.equal(expected, before[2])
    assert torch.equal(kept_model(folder), after[ROUNDS + 1])
    spent = [
        [(entry.round, entry.release) for entry in read_ledger(one / "ledger.jsonl")]
        for one in (plain, folder)
    ]
    assert spent[0] == spent[1] and len(spent[0]) == ROUNDS


def test_the_optimiser_and_the_bounds_never_see_the_steps(runs):
    """Moments and bounds are those of a run without an anchor, whose models are others."""
    plain, moved = (
        load_checkpoint(RunFolder(folder).newest_checkpoint()).tensors for folder, _ in runs.values()
    )
    assert plain.keys() == moved.keys() and len(plain) > 3  # nothing more to keep
    assert [name for name in plain if not torch.equal(plain[name], moved[name])] == ["vector"]


def test_a_resumed_run_takes_the_steps_that_it_would_have_taken(corpus, public, runs, tmp_path):
    changes = anchored(public)
    folder = crash_after(corpus, 2, **changes)
    copy = shutil.copytree(public.parent, tmp_path / "moved")  # the same speech at another place
    again = {**changes, "server.anchor-corpus": str(copy / public.name), "run.resume": str(folder)}
    federate(recipe(corpus, **again))
    assert torch.equal(kept_model(folder), kept_model(runs[2][0]))


def test_a_run_goes_on_with_the_same_anchor_only(corpus, public):
    now = recipe(corpus, **anchored(public))

    def identity(anchor, **changes):
        config = RunConfig.from_flat(now.to_flat() | changes)
        return Identity.of(config, PLAN, "layout", "data", anchor=anchor)

    first = identity("ab")
    assert first.differences(identity("ab", **{"server.anchor-corpus": "/elsewhere"})) == []
    assert first.differences(identity("cd")) == ["anchor corpus was 'ab' and is now 'cd'"]
    assert first.differences(identity("ab", **{"server.anchor-rate": 0.5})) == [
        "server.anchor-rate was 0.02 and is now 0.5"
    ]


def test_card_and_summary_name_the_anchor_and_nothing_does_without_one(runs, public):
    words = "2 steps of SGD (rate 0.02) after each round, on public speech without noise"
    folder = runs[2][0]
    assert (
        f"anchor: {words}: {public.parent.name} (manifest), split 'train'"
        in (folder / "summary.txt").read_text()
    )
    card = (folder / "card.md").read_text()
    assert "- Anchor: 2 steps of SGD" in card and "No epsilon is about its speakers." in card
    assert str(public) in (folder / "config.toml").read_text() and public.parent.name not in card
    for name in ("summary.txt", "card.md"):
        assert "nchor" not in (runs[0][0] / name).read_text()


def test_rounds_draw_other_speech_and_one_seed_draws_the_same(corpus, public):
    start = torch.cat([v.detach().flatten() for v in build_model("tiny", seed=1).parameters()])

    def after(anchor, round_number):
        vector = start.clone()
        anchor.move_(vector, round_number)
        return vector

    anchor = anchor_of(corpus, public)
    drawn = torch.random.get_rng_state()
    first, second = after(anchor, 1), after(anchor, 2)
    anchor.move_(torch.randn(start.shape, generator=torch.Generator().manual_seed(0)), 3)  # another past
    assert torch.equal(after(anchor, 1), first) and not torch.equal(second, first)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert torch.equal(after(anchor_of(corpus, public), 2), second)
    assert not torch.equal(after(anchor_of(corpus, public, **{"server.anchor-seed": 1}), 1), first)


def test_a_round_reads_no_more_audio_than_its_steps_need(corpus, public):
    by_number = anchor_of(corpus, public, **{"server.anchor-steps": 1})
    assert len(by_number._examples(by_number._round(3))) == 2
    by_time = anchor_of(corpus, public, **{"server.anchor-steps": 1, "server.anchor-batch-seconds": 1.0})
    assert len(by_time._examples(by_time._round(3))) == 1


def test_what_is_frozen_stays_and_adapters_alone_move(corpus, public):
    changes = {
        "model.seed": "base",
        "model.adapters": "blocks.*.w1",
        "model.adapter-rank": 2,
        "model.trainable": "adapters",
    }
    anchor = anchor_of(corpus, public, **changes)
    trainer = anchor._trainer
    assert all(name.endswith("lora_B") for name in trainer.layout.names)
    before = {name: v.clone() for name, v in trainer._model.named_parameters() if not v.requires_grad}
    vector = torch.zeros(trainer.layout.size)
    anchor.move_(vector, 1)
    assert vector.any() and all(
        torch.equal(value, before[name])
        for name, value in trainer._model.named_parameters()
        if name in before
    )


def test_steps_that_diverge_end_the_run_with_the_setting(corpus, public):
    anchor = anchor_of(corpus, public)
    vector = torch.full((anchor._trainer.layout.size,), math.nan)
    with pytest.raises(SpeechError, match=r"server.anchor-rate = 0.02: .* diverged after round 7"):
        anchor.move_(vector, 7)


FAULTS = {
    "no split": ({"server.anchor-split": "nobody"}, CorpusError, "no split 'nobody'"),
    "the held-out split": (
        {"server.anchor-corpus": "own", "server.anchor-split": "test"},
        ConfigError,
        "it is the held-out split",
    ),
    "held-out recordings": (
        {"server.anchor-corpus": "copied list", "server.anchor-split": "public"},
        ConfigError,
        "1 of its recordings are in the held-out split",
    ),
    "held-out ids of a namespace": (
        {"server.anchor-corpus": "same ids", "server.anchor-split": "test", "corpus.speaker-namespace": "x"},
        ConfigError,
        "1 of its speakers are held out, the first 'test-00'",
    ),
    "letters that the model lacks": ({"server.anchor-corpus": "digits"}, CorpusError, "no usable utterance"),
    "no audio": (
        {"server.anchor-corpus": "silent"},
        CorpusError,
        "no usable audio in split 'train' for round 1",
    ),
    "no file": ({"server.anchor-corpus": "absent"}, CorpusError, "absent"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_corpus_that_cannot_be_used_is_refused_before_any_node_is_asked(corpus, public, tmp_path, case):
    changes, error, message = FAULTS[case]
    named = changes.get("server.anchor-corpus")
    text = corpus.read_text()
    places = {"own": corpus, "absent": tmp_path / "absent.jsonl", None: public}
    if named == "same ids":
        places[named] = make_corpus(tmp_path / "other", {"test": 1}, utterances=2)
    if named in ("copied list", "digits", "silent"):
        places[named] = corpus.with_name(f"{named}.jsonl")
        changed = {
            "copied list": text.replace('"split": "test"', '"split": "public"').replace('test-00",', 'q",'),
            "digits": text.replace('"text": "', '"text": "4 '),
            "silent": re.sub(r"[a-z]+-\d+-\d+\.flac", "silent.flac", text),
        }[named]
        places[named].write_text(changed)
        corpus.with_name("silent.flac").write_bytes(b"no sound")
    changes = changes | {"server.anchor-corpus": str(places[named])}
    with pytest.raises(error, match=message):
        anchor_of(corpus, public, **changes)


def test_steps_need_a_corpus_and_a_corpus_steps(corpus, public):
    for changes in ({"server.anchor-steps": 0}, {"server.anchor-corpus": ""}):
        with pytest.raises(ConfigError, match=r"server.anchor-corpus = .* and server.anchor-steps"):
            recipe(corpus, **{**anchored(public), **changes})
    with pytest.raises(ConfigError, match=r"server.anchor-corpus = 'here.jsonl': the path is relative"):
        recipe(corpus, **anchored("here.jsonl"))
    named = with_absolute_paths({"server.anchor-corpus": "here.jsonl"})
    assert named["server.anchor-corpus"].startswith("/")
    shipped = {"server.anchor-corpus": "embedded", "server.anchor-steps": 1}
    assert with_absolute_paths(shipped) == shipped
    section = RunConfig.from_flat({**default_config(), **shipped}).server
    assert section.anchor_place == ("embedded", "") and "embedded, split" in anchor_in_words(section)


# --- Attacks: an enrolled speaker in the anchor corpus ---------------------------------------------------


def enrolled(corpus, public, *, dataset, ids=(), key=None, split="train", **changes):
    """Start a run whose nodes register so; the tokens of `ids` are under `key`."""
    speech, _ = made(corpus, public, **changes)
    fixed = speech.corpus.digest if dataset == "anchor" else dataset
    said = {"key": key} if key else {}
    honest = node_info("z", dataset="other", key=key_of("", "other"))
    require_nobody_in_anchor(
        {1: honest, 2: node_info(*(ids or ("y",)), dataset=fixed, split=split, **said)}, speech.speakers
    )


def test_a_node_with_the_anchor_corpus_is_refused(corpus, public):
    with pytest.raises(RegistrationError, match="node 2 holds split 'train' of the anchor corpus"):
        enrolled(corpus, public, dataset="anchor")


def test_another_split_of_the_anchor_corpus_is_taken_unless_a_speaker_is_in_both(corpus, tmp_path, public):
    enrolled(corpus, public, dataset="anchor", split="more")
    with pytest.raises(RegistrationError, match="node 2 holds split 'new' of the anchor corpus"):
        enrolled(corpus, public, dataset="anchor", split="new")  # a name that the corpus does not have
    both = make_corpus(tmp_path / "both", {"train": 1, "more": 1}, utterances=1)
    both.write_text(both.read_text().replace('"speaker": "more-00"', '"speaker": "train-00"'))
    with pytest.raises(
        RegistrationError, match="holds split 'more' of the anchor corpus, which has speakers"
    ):
        enrolled(corpus, both, dataset="anchor", split="more", **{"corpus.shared-speakers": True})


def test_a_speaker_of_the_anchor_corpus_is_known_by_the_pseudonym(corpus, public):
    namespace = {"corpus.speaker-namespace": "hospitals"}
    words = "node 2 holds 1 speaker of the anchor corpus"
    for more in ({}, {"corpus.shared-speakers": True}):
        with pytest.raises(RegistrationError, match=words):
            enrolled(
                corpus,
                public,
                dataset="d",
                ids=("train-02",),
                key=key_of("hospitals", ""),
                **namespace,
                **more,
            )
    speech, _ = made(corpus, public)
    own = key_of("", speech.corpus.speaker_key)
    with pytest.raises(RegistrationError, match=words):  # its split renamed, its digest forged
        enrolled(corpus, public, dataset="d", ids=("train-02", "q"), key=own)
    enrolled(corpus, public, dataset="d", ids=("train-02",), key=key_of("elsewhere", ""), **namespace)


def test_the_same_recordings_under_another_list_are_known_in_the_servers_own_corpus(corpus, public, tmp_path):
    """As in a simulation, whose nodes hold the recipe's corpus: a part of it would be another data set."""
    part = corpus.with_name("part.jsonl")
    part.write_text(corpus.read_text().splitlines()[0].replace('train-00",', 'someone",') + "\n")
    speech, config = made(corpus, part)
    held_out = HeldOut.of(config.corpus, build_model("tiny"))
    own = held_out.store.corpus.digest
    assert speech.corpus.digest != own
    with pytest.raises(RegistrationError, match="node 2 holds 1 speaker with recordings in the anchor"):
        enrolled(corpus, part, dataset=own)


@pytest.mark.parametrize("how", ["symbolic link", "hard link", "another segment"])
def test_the_same_recordings_are_known_by_another_name_and_in_another_cut(corpus, public, tmp_path, how):
    line = {**json.loads(corpus.read_text().splitlines()[0]), "speaker": "someone"}
    file = corpus.parent / line["audio_filepath"]
    other = {"symbolic link": tmp_path / "s.flac", "hard link": tmp_path / "h.flac"}.get(how, file)
    if how == "symbolic link":
        other.symlink_to(file)
    elif how == "hard link":
        other.hardlink_to(file)
    else:
        line |= {"offset": 0.1, "duration": line["duration"] - 0.1}
    part = tmp_path / "part.jsonl"
    part.write_text(json.dumps({**line, "audio_filepath": str(other)}) + "\n")
    _, config = made(corpus, part)
    own = HeldOut.of(config.corpus, build_model("tiny")).store.corpus.digest
    with pytest.raises(RegistrationError, match="node 2 holds 1 speaker with recordings in the anchor"):
        enrolled(corpus, part, dataset=own)


def test_recordings_of_one_split_tell_who_is_enrolled_by_another(corpus, public, tmp_path):
    """A person of the server's own corpus has other speech in the split that a node holds."""
    both = make_corpus(tmp_path / "both", {"train": 2, "more": 1, "test": 1}, utterances=1)
    both.write_text(both.read_text().replace('"speaker": "more-00"', '"speaker": "train-00"'))
    part = both.with_name("part.jsonl")
    (line,) = (one for one in both.read_text().splitlines() if '"more"' in one)
    part.write_text(line.replace('"train-00"', '"someone"').replace('"more"', '"train"') + "\n")
    changes = {"corpus.shared-speakers": True, "corpus.speaker-namespace": "hospitals"}
    _, config = made(both, part, **changes)
    own = HeldOut.of(config.corpus, build_model("tiny")).store.corpus.digest
    with pytest.raises(RegistrationError, match="node 2 holds 1 speaker with recordings in the anchor"):
        enrolled(both, part, dataset=own, **changes)
    with pytest.raises(RegistrationError, match="node 2 holds 1 speaker of the anchor corpus"):
        enrolled(both, part, dataset="d", ids=("train-00",), key=key_of("hospitals", ""), **changes)


def test_a_refused_run_has_drawn_and_spent_nothing(corpus, public):
    speech, _ = made(corpus, public)
    config = recipe(corpus, **anchored(public))
    asked = []
    with pytest.raises(RegistrationError, match="holds split 'train' of the anchor corpus"):
        federate(config, dataset=speech.corpus.digest, saw=lambda *task: asked.append(task))
    assert not asked


def test_speakers_of_earlier_runs_cannot_be_trained_on_without_noise(corpus, public, tmp_path):
    """The nodes that held them may be away: the notes beside the ledger remember their pseudonyms."""
    speech, _ = made(corpus, public)
    tokens = frozenset(one.hex() for one in speech.speakers.tokens)
    ledger = tmp_path / "ward.jsonl"
    require_never_enrolled(ledger, tokens)
    own = tokens_of(key_of("", speech.corpus.speaker_key), ["train-01"]).hex()
    ledger.with_suffix(".speakers").write_text(f"\n{own}\n")
    with pytest.raises(ConfigError, match="have enrolled 1 of its speakers, in the ledger 'ward'"):
        require_never_enrolled(ledger, tokens)
    ledger.with_suffix(".speech").write_text("\nab\n")
    with pytest.raises(ConfigError, match="in the ledger 'ward'"):
        require_never_enrolled(ledger.with_name("another.jsonl"), tokens)
