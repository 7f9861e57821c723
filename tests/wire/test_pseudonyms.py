import hashlib
import hmac

import pytest
from flwr.app import ConfigRecord

from wire.node_info import MOST_TOKENS, NodeInfo
from wire.pseudonyms import TOKEN_BYTES, fingerprint, key_of, split_tokens, tokens_of


def test_a_token_is_that_of_its_key_and_its_id_alone():
    one, other = key_of("hospitals", "x"), key_of("hospitals", "y")
    assert tokens_of(one, ["a", "b"]) == tokens_of(other, ["a"]) + tokens_of(other, ["b"])
    assert tokens_of(key_of("", "x"), ["a"]) != tokens_of(key_of("", "y"), ["a"])
    assert key_of("", "hospitals") != key_of("hospitals", "")
    assert fingerprint(one) == fingerprint(other) != fingerprint(key_of("", "x"))
    expected = hmac.new(b"namespace:hospitals", b"speaker:a", hashlib.sha256).digest()[:TOKEN_BYTES]
    assert split_tokens(tokens_of(one, ["a", "b"]))[0] == expected


def answer(speakers, tokens):
    return ConfigRecord({"speakers": speakers, "dataset": "d", "split": "s", "tokens": tokens})


@pytest.mark.parametrize(
    ("speakers", "tokens", "said"),
    [
        (2, bytes(16), "tokens of 2 speakers have 16 bytes"),
        (1, bytes(17), "have 17 bytes"),
        (2, bytes(32), "counts one speaker twice"),
        (MOST_TOKENS + 1, bytes(16 * (MOST_TOKENS + 1)), "none of more than 100,000"),
        (1, "x" * 16, "are str, expected are bytes"),
    ],
)
def test_what_a_node_may_send_is_bounded(speakers, tokens, said):
    with pytest.raises(ValueError, match=said):
        NodeInfo.of(answer(speakers, tokens))


def test_an_answer_comes_back_as_it_was_sent():
    held = NodeInfo(
        speakers=2, dataset="d", split="s", namespace="n", tokens=bytes(16) + b"1" * 16, synthetic=False
    )
    assert NodeInfo.of(held.to_record()["answer"]) == held
