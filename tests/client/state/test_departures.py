"""The record of departures only grows, and one that cannot be read does not count as empty."""

import json
import os

import pytest

from client.state.departures import Departure, DepartureError, Departures, record
from client.state.node_state import node_state, node_state_path
from recipes import ConfigError


@pytest.fixture
def folder(tmp_path):
    return node_state({"node-state": str(tmp_path / "node")})


def leave(folder, *speakers):
    record(folder, [Departure.now(speaker, "digest") for speaker in speakers])


def names(departures):
    return [one.speaker for one in departures.entries]


def test_nobody_has_left_where_there_is_no_record(tmp_path):
    departures = Departures(tmp_path / "nowhere")
    assert departures.entries == () and departures.of("a") is None
    everybody = ["a", "b"]
    assert departures.without(everybody) is everybody


def test_who_leaves_is_seen_at_once_by_those_who_looked_before(folder):
    departures = Departures(folder)
    assert names(departures) == []
    leave(folder, "b")
    assert names(departures) == ["b"]
    leave(folder, "a")
    assert names(departures) == ["b", "a"]  # in the order of leaving
    assert departures.without(["a", "b", "c"]) == ["c"]
    assert departures.without(["a", "b", "c"], first=1) == ["a", "c"]
    assert departures.without(["a", "b", "c"], first=0) == ["a", "b", "c"]


def test_leaving_twice_is_leaving_once(folder):
    leave(folder, "a")
    first = (folder / "left.jsonl").read_bytes()
    leave(folder, "a")
    assert (folder / "left.jsonl").read_bytes() == first


def test_the_record_is_its_owners_alone_and_has_a_date(folder):
    before = os.umask(0)
    try:
        leave(folder, "a")
    finally:
        os.umask(before)
    assert (folder / "left.jsonl").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    entry = json.loads((folder / "left.jsonl").read_text())
    assert set(entry) == {"speaker", "time_utc", "dataset"} and entry["time_utc"].startswith("20")


def test_one_id_in_two_forms_of_unicode_is_one_speaker(folder):
    leave(folder, "Zoe\u0308")
    departures = Departures(folder)
    assert departures.of("Zo\u00eb") and departures.without(["Zo\u00eb", "b"]) == ["b"]


@pytest.mark.parametrize(
    "line",
    ["{}", "[]", "null", '"a"', '{"speaker": 7, "time_utc": "t"}', '{"speaker": ""}', "\x00\x00", "{" * 5000],
)
def test_a_damaged_line_is_an_error_that_names_it(folder, line):
    leave(folder, "a", "b")
    path = folder / "left.jsonl"
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n{line}\n{second}\n")
    with pytest.raises(DepartureError, match=r"left\.jsonl:2: is no entry"):
        _ = Departures(folder).entries


def test_what_a_power_cut_left_was_never_confirmed_and_is_cut_off(folder):
    leave(folder, "a")
    path = folder / "left.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"speaker": "b", "ti')
    assert names(Departures(folder)) == ["a"]
    leave(folder, "c")
    assert names(Departures(folder)) == ["a", "c"] and path.read_bytes().startswith(
        whole + b'{"speaker": "c"'
    )


def test_an_entry_that_lacks_only_its_newline_counts_and_stays(folder):
    leave(folder, "a")
    path = folder / "left.jsonl"
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    assert names(Departures(folder)) == ["a"]
    leave(folder, "b")
    assert names(Departures(folder)) == ["a", "b"]


def test_a_record_that_goes_away_brings_nobody_back(folder):
    departures = Departures(folder)
    leave(folder, "a")
    assert names(departures) == ["a"]
    (folder / "left.jsonl").unlink()
    with pytest.raises(DepartureError, match="is gone"):
        departures.without(["a"])


def test_a_record_that_may_not_be_read_is_an_error(folder):
    (folder / "left.jsonl").mkdir()
    with pytest.raises(DepartureError, match="cannot be read"):
        _ = Departures(folder).entries


def test_the_folder_is_the_named_one_or_in_home(tmp_path, monkeypatch):
    monkeypatch.setenv("MURMUR_HOME", str(tmp_path / "home"))
    assert node_state_path({}) == tmp_path / "home" / "node"
    assert not (tmp_path / "home").exists()
    assert node_state({}) == tmp_path / "home" / "node"
    assert node_state_path({"node-state": "/srv/n"}).as_posix() == "/srv/n"


def test_a_folder_that_others_may_enter_is_refused(tmp_path):
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open").chmod(0o755)
    with pytest.raises(ConfigError, match="others may enter"):
        node_state({"node-state": str(tmp_path / "open")})
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be made"):
        node_state({"node-state": str(tmp_path / "file" / "below")})
