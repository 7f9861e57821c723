import tarfile

import pytest
from typer.testing import CliRunner

from cli.main import app
from privacy import Ledger, LedgerCorrupt, Release, read_ledger
from server.storage.ledger_copies import restore
from server.storage.populations import PopulationIdentity, note_population, population_of

RELEASE = Release(sampling_rate=0.1, noise_multiplier=1.0)


def murmur(*arguments):
    return CliRunner().invoke(app, ["ledger", *map(str, arguments)])


def spend(ledger, count, run="r"):
    with Ledger.open(ledger) as opened:
        for number in range(count):
            opened.spend(RELEASE, run=run, dataset="ward", round=number)


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "runs" / "ledgers" / "ward.jsonl"
    spend(path, 3)
    note_population(path, PopulationIdentity(digests=frozenset({"d1", "d2"}), tokens=frozenset({"aa", "bb"})))
    return path


@pytest.fixture
def copy(ledger, tmp_path):
    done = murmur("backup", "ward", tmp_path / "ward.backup", "--runs", ledger.parent.parent)
    assert (done.exit_code, "3 entries of" in done.stdout) == (0, True), done.output
    return tmp_path / "ward.backup"


def bring_back(ledger, copy):
    return murmur("restore", "ward", copy, "--runs", ledger.parent.parent)


def test_a_ledger_that_is_lost_comes_back_whole_with_its_people(ledger, copy, tmp_path):
    before, people = ledger.read_bytes(), population_of(ledger)
    assert copy.stat().st_mode & 0o777 == 0o600
    for path in ledger.parent.iterdir():
        path.unlink()
    done = bring_back(ledger, copy)
    assert (done.exit_code, "3 entries added, 3 in all" in done.stdout) == (0, True)
    assert ledger.read_bytes() == before and population_of(ledger) == people
    assert ledger.with_suffix(".speakers").stat().st_mode & 0o777 == 0o600
    assert "0 entries added" in bring_back(ledger, copy).stdout


def test_what_is_missing_at_the_end_is_added(ledger, copy):
    whole = ledger.read_bytes()
    ledger.write_bytes(whole.splitlines(keepends=True)[0])
    assert "2 entries added, 3 in all" in bring_back(ledger, copy).stdout
    assert ledger.read_bytes() == whole


def test_a_newer_ledger_is_never_replaced(ledger, copy):
    spend(ledger, 1)
    before = ledger.read_bytes()
    done = bring_back(ledger, copy)
    assert done.exit_code == 1 and "the copy is older" in done.stderr
    assert ledger.read_bytes() == before


def test_a_ledger_that_went_another_way_is_never_replaced(ledger, copy):
    ledger.unlink()
    spend(ledger, 2, run="another")
    before = ledger.read_bytes()
    done = bring_back(ledger, copy)
    assert done.exit_code == 1 and "are not one chain" in done.stderr
    assert ledger.read_bytes() == before


def test_a_damaged_ledger_is_put_aside_for_a_copy_that_reaches_as_far(ledger, copy):
    whole = ledger.read_bytes()
    damaged = whole.replace(b'"round": 1', b'"round": 7')
    ledger.write_bytes(damaged)
    done = bring_back(ledger, copy)
    assert done.exit_code == 0 and "the damaged ledger is now ward.damaged-1" in done.stdout
    assert ledger.read_bytes() == whole
    assert ledger.with_suffix(".damaged-1").read_bytes() == damaged
    ledger.write_bytes(damaged + damaged)
    done = bring_back(ledger, copy)
    assert done.exit_code == 1 and "has 6 lines" in done.stderr and "the copy is older" in done.stderr


def test_a_copy_whose_chain_is_broken_changes_nothing(ledger, copy, tmp_path):
    (tmp_path / "bad").write_bytes(ledger.read_bytes().replace(b'"round": 1', b'"round": 7'))
    (tmp_path / "torn").write_bytes(ledger.read_bytes()[:-40])
    ledger.unlink()
    for name, said in (("bad", "line 2"), ("torn", "bytes that are no entry")):
        with pytest.raises(LedgerCorrupt, match=said):
            restore(ledger, tmp_path / name)
    assert not ledger.exists()


def test_a_plain_copy_of_the_file_can_be_restored_too(ledger, tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(ledger.read_bytes())
    ledger.unlink()
    assert bring_back(ledger, plain).exit_code == 0
    assert len(read_ledger(ledger)) == 3


def test_a_copy_overwrites_nothing_and_an_archive_of_something_else_is_refused(ledger, copy, tmp_path):
    done = murmur("backup", ledger, copy)
    assert done.exit_code == 2 and "exists: choose another name" in done.stderr
    with tarfile.open(tmp_path / "other.tar", "w") as archive:
        archive.add(tmp_path / "ward.backup", "../../evil.txt")
    done = bring_back(ledger, tmp_path / "other.tar")
    assert done.exit_code == 1 and "contains no ledger" in done.stderr
    missing = murmur("backup", "nobody", tmp_path / "x", "--runs", ledger.parent.parent)
    assert missing.exit_code == 2 and "there is no ledger" in missing.stderr


@pytest.mark.parametrize("suffix", [".speech", ".speakers"])
def test_damaged_notes_are_named_with_what_helps_and_that_helps(ledger, copy, suffix):
    notes = ledger.with_suffix(suffix)
    notes.write_bytes(notes.read_bytes() + b"\n\xff\xfe")
    with pytest.raises(LedgerCorrupt, match=rf"ward\{suffix}:4 is damaged.*murmur ledger restore"):
        population_of(ledger)
    for done in (bring_back(ledger, copy), murmur("show", ledger)):
        assert done.exit_code == 1 and "is damaged" in done.output and "Traceback" not in done.output
    notes.rename(notes.with_name("aside"))
    assert bring_back(ledger, copy).exit_code == 0
    assert population_of(ledger) == PopulationIdentity(
        digests=frozenset({"ward", "d1", "d2"}), tokens=frozenset({"aa", "bb"})
    )


def test_a_copy_with_damaged_notes_is_refused_before_anything_is_added(ledger, copy):
    with tarfile.open(copy, "w") as archive:
        for name in (ledger, ledger.with_suffix(".speech")):
            archive.add(name, name.name)
        bad = ledger.with_name("bad")
        bad.write_bytes(b"\xff")
        archive.add(bad, "ward.speakers")
    whole = ledger.read_bytes()
    ledger.write_bytes(whole.splitlines(keepends=True)[0])
    done = bring_back(ledger, copy)
    assert done.exit_code == 1 and "is damaged" in done.output
    assert len(read_ledger(ledger)) == 1
