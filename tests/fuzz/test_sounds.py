"""Mutated sound files: read, or refused as an `AudioError`, in bounded memory and time."""

from pathlib import Path

from hypothesis import given

from tests.fuzz import sounds
from tests.fuzz.counts import fuzz, tally
from tests.fuzz.reading_process import ReadingProcess


def test_mutated_sound_files_are_decoded_or_refused(tmp_path: Path) -> None:
    counts = tally("sound files")
    with ReadingProcess() as reading_process:

        @fuzz(short=120, long=1000)
        @given(sounds.files)
        def one_file(made):
            suffix, content = made
            file = tmp_path / f"a.{suffix}"
            file.write_bytes(content)
            said = reading_process.ask("sound", file)
            assert "crashed" not in said, said["crashed"]
            counts["files"] += 1
            counts["read as a whole"] += said["counts"]["read"]

        one_file()
    assert counts["read as a whole"] >= counts["files"] / 5
