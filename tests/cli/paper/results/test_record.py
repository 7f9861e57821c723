"""The file of a result: written and read, refused with the fault, and described by its page."""

import json
import math

import pytest

from cli.paper.results.record import (
    SCHEMA_PAGE,
    ResultError,
    fields_of,
    read_result,
    read_results,
    write_result,
)
from recipes import checkout
from tests.cli.paper.results.made import made


@pytest.mark.parametrize("epsilon", [8.25, math.inf])
def test_a_result_is_read_as_it_was_written(tmp_path, epsilon):
    result = made(epsilon=epsilon)
    write_result(tmp_path / "deep" / "one.json", result)
    assert read_result(tmp_path / "deep" / "one.json") == result
    assert list(read_results(tmp_path).values()) == [result]


def broken(tmp_path, **changes):
    """The message for a file in which `changes`, by field "wer.rate", replace what is right."""
    content = json.loads(made().model_dump_json())
    for key, value in changes.items():
        *parts, last = key.split("__")
        place = content
        for part in parts:
            place = place[part]
        place[last] = value
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ResultError) as refused:
        read_result(path)
    assert str(path) in str(refused.value) and SCHEMA_PAGE in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"wer__rate": 15.0}, "a rate is a fraction"),
        ({"wer__by_speaker": [[1, 40]]}, "adds up to 1 errors of 40 words"),
        ({"wer__low": None}, "give both"),
        ({"privacy__epsilon": -1.0}, "privacy.epsilon = -1.0"),
        ({"privacy__delta": 1.0}, "privacy.delta = 1.0"),
        ({"privacy__extrapolated": None}, "give all three"),
        ({"privacy__accountant": "moments"}, "privacy.accountant = 'moments'"),
        ({"purpose": "test"}, "purpose = 'test'"),
        ({"version": 2}, "version = 2"),
        ({"cohort": "16"}, "cohort = '16'"),
        ({"epsilon": 3}, "epsilon = 3"),
    ],
)
def test_a_fault_is_named_with_its_place_and_value(tmp_path, changes, words):
    assert words in broken(tmp_path, **changes)


def test_what_is_no_json_is_refused(tmp_path):
    (tmp_path / "torn.json").write_text('{"version": 1,')
    with pytest.raises(ResultError, match=r"torn\.json is no result"):
        read_results(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ResultError, match="murmur paper small"):
        read_results(tmp_path / "nowhere")


def test_the_page_lists_every_field_as_the_code_describes_it():
    page = (checkout() / SCHEMA_PAGE).read_text(encoding="utf-8")
    rows = [f"| `{name}` | {meaning} |" for name, meaning in fields_of()]
    assert [row for row in rows if row not in page] == []
