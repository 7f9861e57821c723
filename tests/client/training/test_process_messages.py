"""Whatever the speaker process sends is a few numbers and a text to its parent, or nothing."""

import math
import pickle
import select

import pytest
from hypothesis import given
from hypothesis import strategies as some

from client.training.process_messages import ERRORS, FRAME_BYTES, Failed, Ready, Trained, decode, encode
from recipes import ConfigError
from speech.errors import CheckpointMismatch


@pytest.mark.parametrize(
    "report",
    [
        None,
        Ready(frozen="", longest_seconds=0.25),
        Ready(frozen="ab" * 32, longest_seconds=1e9),
        Trained(loss=1.5, steps=7),
        Trained(loss=math.inf, steps=2**64 - 1),
    ],
)
def test_a_report_arrives_as_it_was(report):
    assert len(encode(report)) == FRAME_BYTES
    assert decode(encode(report)) == report


@pytest.mark.parametrize("kind", [CheckpointMismatch, FileNotFoundError, ValueError])
def test_an_error_of_ours_keeps_its_kind_and_its_text(kind):
    found = decode(encode(Failed(error=kind("seed: näher, 7 of 9"))))
    assert type(found.error) is kind and str(found.error) == "seed: näher, 7 of 9"


def test_no_words_of_that_process_go_to_the_server():
    """A node sends a `ConfigError`'s text."""
    found = decode(encode(Failed(error=ConfigError("what somebody said"))))
    assert not isinstance(found.error, ConfigError)
    assert not any(issubclass(kind, ConfigError) for kind in ERRORS.values())


def test_any_other_error_is_named():
    class Odd(Exception):
        pass

    found = decode(encode(Failed(error=Odd("x"))))
    assert type(found.error) is RuntimeError and str(found.error) == "Odd: x"


def test_a_long_text_loses_its_end():
    found = decode(encode(Failed(error=ValueError("ü" * 10_000))))
    assert type(found.error) is ValueError and 400 < len(str(found.error)) < 1000


def test_a_frame_fits_into_a_pipe_in_one_piece():
    assert FRAME_BYTES <= select.PIPE_BUF


@given(some.binary(min_size=FRAME_BYTES, max_size=FRAME_BYTES))
def test_any_bytes_are_a_report_or_an_error(frame):
    try:
        report = decode(frame)
    except ValueError:
        return
    assert report is None or isinstance(report, Ready | Trained | Failed)
    if isinstance(report, Failed):
        assert type(report.error) in {RuntimeError, *ERRORS.values()} and len(str(report.error)) <= 1000


@pytest.mark.parametrize("length", [0, 1, FRAME_BYTES - 1, FRAME_BYTES + 1])
def test_another_length_is_no_frame(length):
    with pytest.raises(ValueError, match="frame"):
        decode(bytes(length))


def test_a_pickle_is_no_report():
    pickled = pickle.dumps(Trained(loss=1.0, steps=1)).ljust(FRAME_BYTES, b"\0")
    with pytest.raises(ValueError, match="frame"):
        decode(pickled)
