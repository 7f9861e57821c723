"""What a node reports of its speakers at registration, so that a server finds one who is on two nodes."""

import pytest

from client import node_speakers, speaker_processes
from server.errors import RegistrationError
from server.overlaps import require_nobody_twice
from tests.client.test_app import ask, context
from tests.corpora import make_corpus
from wire.node_info import NodeInfo
from wire.pseudonyms import fingerprint, key_of, split_tokens, tokens_of


def own(manifest, **settings):
    return {"corpus-kind": "manifest", "corpus-path": str(manifest), "limits": "none", **settings}


def held(manifest, **settings):
    return NodeInfo.of(ask(context(manifest, node_config=own(manifest, **settings))))


@pytest.fixture
def manifest(tmp_path):
    return make_corpus(tmp_path / "one", {"train": 3, "more": 2, "test": 1}, utterances=1)


def test_a_namespace_makes_the_same_tokens_on_every_node(manifest, tmp_path):
    grown = make_corpus(tmp_path / "two", {"train": 4}, utterances=2)
    one, other = (held(path, **{"speaker-namespace": "a study"}) for path in (manifest, grown))
    assert one.dataset != other.dataset and one.namespace == other.namespace
    assert one.tokens == tokens_of(key_of("a study", ""), ["train-00", "train-01", "train-02"])
    assert set(split_tokens(one.tokens)) < set(split_tokens(other.tokens))
    with pytest.raises(RegistrationError, match="node 1 and node 2 share 3 speakers "):
        require_nobody_twice({1: one, 2: other})


def test_without_one_the_tokens_are_of_the_corpus_and_its_key_stays_on_the_node(manifest, tmp_path):
    one, other = held(manifest), held(make_corpus(tmp_path / "two", {"train": 3}, utterances=2))
    assert set(split_tokens(one.tokens)).isdisjoint(split_tokens(other.tokens))
    for public in (one.dataset, f"corpus:{one.dataset}"):
        assert one.namespace != fingerprint(key_of("", public))
    require_nobody_twice({1: one, 2: other})


def test_one_speaker_in_two_splits_of_a_corpus_is_found(manifest):
    require_nobody_twice({1: held(manifest), 2: held(manifest, **{"corpus-split": "more"})})
    manifest.write_text(manifest.read_text().replace('"more-01"', '"train-01"'))
    speaker_processes.forget()
    with pytest.raises(RegistrationError, match="node 1 and node 2 share 1 speaker "):
        require_nobody_twice({1: held(manifest), 2: held(manifest, **{"corpus-split": "more"})})


def test_parts_of_the_runs_corpus_take_its_namespace_and_nodes_with_their_own_do_not(manifest):
    settings = {"corpus.speaker-namespace": "a study"}
    part = NodeInfo.of(ask(context(manifest, 1, 3, **settings)))
    assert part.tokens == tokens_of(key_of("a study", ""), ["train-01"])
    mine = NodeInfo.of(ask(context(manifest, node_config=own(manifest), **settings)))
    assert mine.namespace == held(manifest).namespace != part.namespace


def test_synthetic_speakers_are_reported_as_such_and_have_no_tokens(manifest):
    info = NodeInfo.of(ask(context(manifest, **{"corpus.kind": "embedded", "corpus.path": ""})))
    assert (info.synthetic, info.tokens, info.speakers) == (True, b"", 96)
    assert not held(manifest).synthetic


def test_too_many_speakers_for_tokens_send_none(manifest, monkeypatch):
    monkeypatch.setattr(node_speakers, "MOST_TOKENS", 2)
    assert held(manifest).tokens == b""
