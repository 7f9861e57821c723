"""What was acknowledged is on disk and counts; what was changed afterwards is found."""

import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import privacy.ledger.ledger as ledger_module
from privacy.accounting.epsilon import Release, epsilon
from privacy.errors import LedgerCorrupt, LedgerInUse
from privacy.ledger.ledger import Ledger, ledger_releases, read_ledger

RELEASE = Release(sampling_rate=0.1, noise_multiplier=1.0)
OTHER = Release(sampling_rate=0.2, noise_multiplier=0.7, count=2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "ledger.jsonl"


def fill(path: Path, rounds: int) -> None:
    with Ledger.open(path) as ledger:
        for number in range(rounds):
            ledger.spend(RELEASE, run="r", dataset="speakers", round=number)


def test_entries_survive_and_chain(path: Path) -> None:
    fill(path, 3)
    with Ledger.open(path) as ledger:
        assert [entry.round for entry in ledger.entries] == [0, 1, 2]
        last = ledger.spend(OTHER, run="later", dataset="speakers", round=7)
        assert (last.sequence, last.release, last.run) == (3, OTHER, "later")
        assert len({entry.previous for entry in ledger.entries}) == 4
        assert read_ledger(path) == ledger.entries
    assert path.read_bytes().count(b"\n") == 4


def test_head_moves_with_every_entry(path: Path) -> None:
    heads = set()
    for rounds in range(3):
        fill(path, min(rounds, 1))
        with Ledger.open(path) as ledger:
            heads.add(ledger.head)
    assert len(heads) == 3


def test_epsilon_is_a_function_of_the_ledger(path: Path) -> None:
    """Runs on the same population add up; those on another one do not count when a data set is named."""
    with Ledger.open(path) as ledger:
        assert ledger.epsilon(1e-5).value == 0
        ledger.spend(RELEASE, run="a", dataset="speakers", round=1)
        ledger.spend(OTHER, run="a", dataset="others", round=1)
        ledger.spend(RELEASE, run="b", dataset="speakers", round=1)
        assert ledger.releases("speakers") == (Release(sampling_rate=0.1, noise_multiplier=1.0, count=2),)
        assert ledger.releases() == ledger_releases(ledger.entries) == (*ledger.releases("speakers"), OTHER)
        assert ledger.epsilon(1e-5, dataset="speakers") == epsilon([RELEASE, RELEASE], 1e-5)
        assert ledger.epsilon(1e-5, pld=False) == epsilon([RELEASE, RELEASE, OTHER], 1e-5, pld=False)
        assert ledger.releases("nobody") == ()


def test_spend_guarantee_fsync_comes_before_the_return(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment of the file's fsync the line is written, and a fsync that fails is no spend."""
    synced: list[bytes] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(path.read_bytes())
        real(descriptor)

    with Ledger.open(path) as ledger:
        monkeypatch.setattr(os, "fsync", fsync)
        entry = ledger.spend(RELEASE, run="r", dataset="d", round=0)
        assert synced[-1] == entry.line() + b"\n"

        monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError("disk")))
        with pytest.raises(OSError, match="disk"):
            ledger.spend(RELEASE, run="r", dataset="d", round=1)
        with pytest.raises(ValueError, match="open it again"):
            ledger.spend(RELEASE, run="r", dataset="d", round=1)
        assert len(ledger.entries) == 1


def test_directory_is_synced_when_the_file_is_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd))[1]
    )
    Ledger.open(path).close()
    assert str(path.parent) in synced


def test_full_disk_leaves_a_ledger_that_mends(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path, 2)
    real = os.write

    def half(descriptor: int, data: bytes) -> int:
        real(descriptor, data[: len(data) // 2])
        raise OSError("no space left")

    with Ledger.open(path) as ledger, monkeypatch.context() as patched:
        patched.setattr(os, "write", half)
        with pytest.raises(OSError, match="no space"):
            ledger.spend(RELEASE, run="r", dataset="d", round=2)
    fill(path, 1)
    assert len(read_ledger(path)) == 3


def test_every_flipped_byte_is_found(path: Path) -> None:
    fill(path, 2)
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x01
        path.write_bytes(damaged)
        with pytest.raises(LedgerCorrupt, match=r"ledger\.jsonl, line [12] "):
            read_ledger(path)
    with pytest.raises(LedgerCorrupt):
        Ledger.open(path)
    assert path.read_bytes() == bytes(damaged)


@pytest.mark.parametrize("keep", [(1, 2), (0, 2), (0, 2, 1), (0, 0, 1, 2)])
def test_removed_moved_and_repeated_lines_are_found(path: Path, keep: tuple[int, ...]) -> None:
    fill(path, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[index] for index in keep))
    with pytest.raises(LedgerCorrupt, match="line"):
        read_ledger(path)


@pytest.mark.parametrize("change", [{"release": OTHER}, {"sequence": 4}, {"previous": "1" * 64}])
def test_a_forged_line_with_a_right_digest_breaks_the_chain(path: Path, change: dict[str, Any]) -> None:
    fill(path, 3)
    entries = list(read_ledger(path))
    entries[1] = replace(entries[1], **change)
    path.write_bytes(b"".join(entry.line() + b"\n" for entry in entries))
    with pytest.raises(LedgerCorrupt, match=r"line [23] does not follow"):
        read_ledger(path)


def test_a_wrong_sequence_is_found_in_a_chain_that_is_otherwise_right(path: Path) -> None:
    fill(path, 2)
    first, second = read_ledger(path)
    path.write_bytes(first.line() + b"\n" + replace(second, sequence=2).line() + b"\n")
    with pytest.raises(LedgerCorrupt, match="line 2 does not follow"):
        read_ledger(path)


def test_torn_last_line_anywhere(path: Path) -> None:
    """Cut short it was never acknowledged and is cut off; whole but for the newline it is spent."""
    fill(path, 2)
    whole = path.read_bytes()
    begin = whole.index(b"\n") + 1
    for cut in (*range(begin, len(whole) - 2, 9), len(whole) - 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        intact = 2 if cut == len(whole) - 1 else 1
        assert len(read_ledger(path)) == intact
        fill(path, 1)
        assert len(read_ledger(path)) == intact + 1


def test_zeros_after_a_power_failure_are_cut_off(path: Path) -> None:
    fill(path, 1)
    path.write_bytes(path.read_bytes() + bytes(300))
    fill(path, 1)
    assert len(read_ledger(path)) == 2


def test_one_writer_at_a_time_and_readers_at_any(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.spend(RELEASE, run="r", dataset="d", round=0)
        with pytest.raises(LedgerInUse, match=r"ledger\.jsonl"):
            Ledger.open(path)
        assert len(read_ledger(path)) == 1
    with pytest.raises(ValueError, match="closed"):
        ledger.spend(RELEASE, run="r", dataset="d", round=1)
    ledger.close()
    Ledger.open(path).close()


@pytest.mark.parametrize("fate", ["deleted", "replaced"])
def test_a_ledger_that_is_gone_from_its_place_takes_no_entry(path: Path, fate: str) -> None:
    """An entry in a file without a name is hidden, and a second run could lock the new file."""
    with Ledger.open(path) as ledger:
        ledger.spend(RELEASE, run="r", dataset="d", round=0)
        kept = path.read_bytes()
        path.unlink()
        if fate == "replaced":
            path.write_bytes(kept)
        with pytest.raises(OSError, match="moved, replaced or deleted"):
            ledger.spend(RELEASE, run="r", dataset="d", round=1)
        with pytest.raises(ValueError, match="open it again"):
            ledger.spend(RELEASE, run="r", dataset="d", round=1)


@pytest.mark.parametrize(
    "change",
    [
        {"run": ""},
        {"dataset": ""},
        {"round": -1},
        {"round": 1.0},
        {"release": Release(sampling_rate=0.1, noise_multiplier=1.0, count=0)},
    ],
)
def test_an_entry_that_says_nothing_is_refused_and_not_written(path: Path, change: dict[str, object]) -> None:
    asked = {"release": RELEASE, "run": "r", "dataset": "d", "round": 0, **change}
    with Ledger.open(path) as ledger:
        with pytest.raises(ValueError, match=next(iter(change))):
            ledger.spend(asked.pop("release"), **asked)  # type: ignore[arg-type]
        ledger.spend(RELEASE, run="ü\n", dataset="d", round=0)
    assert [entry.run for entry in read_ledger(path)] == ["ü\n"]


def test_releases_without_noise_are_kept_as_what_they_are(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.spend(Release(sampling_rate=0.1, noise_multiplier=0.0), run="r", dataset="d", round=0)
    with Ledger.open(path) as ledger:
        assert ledger.epsilon(1e-5).value == float("inf")


@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_spend_guarantee_under_kill(path: Path) -> None:
    """Twenty writers killed at random instants: every acknowledged entry is there, the chain unbroken."""
    wait = random.Random(0)
    acknowledged = 0
    for _ in range(20):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                ledger = Ledger.open(path)
                while True:
                    ledger.spend(RELEASE, run="r", dataset="d", round=0)
                    os.write(writer, b".")
            finally:
                os._exit(1)
        os.close(writer)
        received = sum(len(os.read(reader, 1)) for _ in range(wait.randint(0, 4)))  # however slow the machine
        time.sleep(wait.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reader, "rb") as pipe:
            acknowledged += received + len(pipe.read())
        with Ledger.open(path) as ledger:
            assert acknowledged <= len(ledger.entries) <= acknowledged + 20
            acknowledged = len(ledger.entries)
    assert acknowledged > 20
    assert ledger_module.read_ledger(path)[-1].sequence == acknowledged - 1
