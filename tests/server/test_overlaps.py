"""No speaker is in a population twice, and no held-out speaker is in it."""

import unicodedata

import pytest

from cli.composing import default_config
from recipes import RunConfig
from server.errors import RegistrationError
from server.evaluation import HeldOut
from server.overlaps import HeldOutSpeakers, require_nobody_held_out, require_nobody_twice
from speech.model.ctc_transformer import build_model
from tests.corpora import make_corpus
from wire.node_info import MOST_TOKENS, NodeInfo
from wire.pseudonyms import fingerprint, key_of, tokens_of

KEY, OTHER_KEY = key_of("hospitals", ""), key_of("", "secret of a corpus")


def node_info(*speaker_ids, dataset="d", split="train", key=KEY, speakers=None, **said):
    tokens = {"namespace": fingerprint(key), "tokens": tokens_of(key, speaker_ids)} if speaker_ids else {}
    return NodeInfo(speakers=speakers or len(speaker_ids), dataset=dataset, split=split, **tokens, **said)


def test_one_speaker_in_two_splits_on_two_nodes_is_refused():
    nodes = {2: node_info("a", "b", key=OTHER_KEY), 5: node_info("b", "c", split="more", key=OTHER_KEY)}
    with pytest.raises(RegistrationError, match="node 2 and node 5 share 1 speaker "):
        require_nobody_twice(nodes)


def test_one_id_of_a_namespace_on_two_nodes_is_one_speaker():
    nodes = {
        2: node_info("a", "b", "c"),
        5: node_info("b", "c", dataset="other"),
        7: node_info("z", dataset="o"),
    }
    with pytest.raises(RegistrationError, match="node 2 and node 5 share 2 speakers "):
        require_nobody_twice(nodes)


def test_a_name_is_one_name_in_either_form_of_unicode():
    """One machine writes an umlaut as one character, another as two."""
    composed, apart = (unicodedata.normalize(form, "Sünje") for form in ("NFC", "NFD"))
    assert composed != apart and key_of(f"{composed} ", "") == key_of(apart, "")
    with pytest.raises(RegistrationError, match="node 2 and node 5 share 1 speaker "):
        require_nobody_twice({2: node_info(composed), 5: node_info(apart, dataset="other")})
    assert key_of(" ", "secret") == key_of("", "secret")


def test_without_a_namespace_the_same_ids_in_two_corpora_are_two_speakers():
    require_nobody_twice(
        {
            2: node_info("1", "2", key=key_of("", "one")),
            5: node_info("1", "2", dataset="other", key=key_of("", "two")),
        }
    )


def test_two_splits_of_one_corpus_without_a_common_speaker_are_accepted():
    require_nobody_twice(
        {1: node_info("a", part=0), 2: node_info("b", split="more"), 3: node_info("c", dataset="e")}
    )


@pytest.mark.parametrize(
    "other",
    [
        node_info(speakers=3, split="more"),  # no tokens
        node_info("c", split="more", key=OTHER_KEY),
        node_info(speakers=MOST_TOKENS + 1, split="more"),
    ],
)
def test_two_splits_of_one_corpus_that_cannot_be_compared_are_refused(other):
    with pytest.raises(
        RegistrationError, match="nodes 1 and 2 hold the splits 'train' and 'more' of one corpus"
    ):
        require_nobody_twice({1: node_info("a"), 2: other})


def test_every_node_of_a_corpus_is_compared_with_one_of_another_split():
    """The first node has the split of the second and the key of the third: neither comparison is enough."""
    nodes = {
        1: node_info("a"),
        2: node_info("b", part=1, parts=2, key=OTHER_KEY),
        3: node_info("c", split="more"),
    }
    nodes[1] = node_info("a", part=0, parts=2)
    with pytest.raises(
        RegistrationError, match="nodes 2 and 3 hold the splits 'train' and 'more' of one corpus"
    ):
        require_nobody_twice(nodes)


def test_synthetic_speakers_of_two_splits_are_not_the_same():
    nodes = {
        n: node_info(speakers=3, split=split, synthetic=True) for n, split in ((1, "train"), (2, "test"))
    }
    require_nobody_twice(nodes)


def test_a_node_that_trains_on_the_servers_held_out_split_is_refused():
    held_out_speakers = HeldOutSpeakers(dataset="d", split="test")
    for held in (node_info("a", split="test"), node_info(speakers=2, split="test", synthetic=True)):
        with pytest.raises(RegistrationError, match="node 4 holds the held-out split 'test'"):
            require_nobody_held_out({3: node_info("b"), 4: held}, held_out_speakers)
    require_nobody_held_out(
        {3: node_info("b"), 4: node_info("c", dataset="e", split="test")}, held_out_speakers
    )


def test_a_held_out_speaker_of_a_namespace_is_known_again_on_a_node(tmp_path):
    path = make_corpus(tmp_path, {"train": 2, "test": 2}, utterances=1)
    settings = {"corpus.kind": "manifest", "corpus.path": str(path), "corpus.speaker-namespace": "hospitals"}

    def held_out_speakers(**changes):
        section = RunConfig.from_flat({**default_config(), **settings, **changes}).corpus
        return HeldOut.of(section, build_model("tiny")).held_out_speakers(section)

    node = {6: node_info("test-00", "z", dataset="another")}
    with pytest.raises(RegistrationError, match="node 6 holds 1 speaker of the held-out split 'test' too"):
        require_nobody_held_out(node, held_out_speakers())
    require_nobody_held_out(node, held_out_speakers(**{"corpus.shared-speakers": True}))
    require_nobody_held_out(node, held_out_speakers(**{"corpus.speaker-namespace": ""}))
    require_nobody_held_out({6: node_info("train-00", dataset="another")}, held_out_speakers())
