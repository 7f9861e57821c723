"""Mutated ledgers: an error of the privacy family, or nothing that was spent is spent less."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from privacy.accounting.epsilon import Release, epsilon
from privacy.errors import PrivacyError
from privacy.ledger.ledger import Ledger, LedgerEntry, contains_head, head_of, ledger_releases, read_ledger
from tests.fuzz import mutations
from tests.fuzz.counts import fuzz, tally

DELTA = 1e-6
RELEASES = [
    Release(sampling_rate=0.1, noise_multiplier=1.0),
    Release(sampling_rate=0.2, noise_multiplier=0.7, count=3),
    Release(sampling_rate=0.1, noise_multiplier=1.0),
    Release(sampling_rate=0.05, noise_multiplier=0.9, cohort_cap=40, population=400),
    Release(sampling_rate=0.3, noise_multiplier=2.0),
]


def spent(entries: tuple[LedgerEntry, ...]) -> float:
    """Epsilon on the people, by RDP."""
    return epsilon(ledger_releases(entries, "people"), DELTA, pld=False).value


def written(path: Path) -> bytes:
    """A ledger of some rounds."""
    with Ledger.open(path) as ledger:
        for number, release in enumerate(RELEASES):
            ledger.spend(release, run="run", dataset="people", round=number)
    return path.read_bytes()


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> tuple[bytes, bool]:
    """A ledger that is changed as bytes, line by line, or in the fields of a line; and whether whoever
    changed it made the line's digest anew."""
    lines = content.splitlines(keepends=True)
    at = draw(st.integers(0, len(lines) - 1))
    kind = draw(
        st.sampled_from(["bytes", "bytes", "drop", "double", "swap", "fields", "own digest", "deep", "end"])
    )
    if kind == "bytes":
        return draw(mutations.byte_mutations(content)), False
    if kind == "drop":
        return b"".join(lines[:at] + lines[at + 1 :]), False
    if kind == "double":
        return b"".join(lines[: at + 1] + lines[at:]), False
    if kind == "swap":
        other = draw(st.integers(0, len(lines) - 1))
        lines[at], lines[other] = lines[other], lines[at]
        return b"".join(lines), False
    if kind == "end":  # the end of the last line, newline included
        tail = len(lines[-1]) + 1
        return content[:-tail] + draw(mutations.byte_mutations(content[-tail:])), False
    if kind == "deep":
        lines[at] = draw(st.sampled_from([b"[", b'{"release": ', b'{"a":['])) * draw(st.integers(1, 60_000))
        return b"".join(lines) + draw(st.sampled_from([b"", b"\n"])), False
    fields = draw(mutations.json_mutations(json.loads(lines[at])))
    lines[at] = _line(fields, own_digest=kind == "own digest") + b"\n"
    return b"".join(lines), kind == "own digest"


def _line(fields: object, own_digest: bool) -> bytes:
    """What somebody who edits the file would write: perhaps with a digest that fits."""
    if own_digest and isinstance(fields, dict):
        try:
            release = Release(**fields["release"])
            rest = {name: value for name, value in fields.items() if name not in ("digest", "release")}
            return LedgerEntry(**rest, release=release).line()
        except (TypeError, ValueError, KeyError, AttributeError):
            pass
    return json.dumps(fields, sort_keys=True).encode()


def test_a_mutated_ledger_never_says_that_less_was_spent(tmp_path: Path) -> None:
    """But for entries cut off at the end, and a last one made anew: the head that others keep tells both."""
    counts = tally("ledgers")
    path, changed = tmp_path / "ledger.jsonl", tmp_path / "changed.jsonl"
    content = written(path)
    original = read_ledger(path)
    before, head = spent(original), head_of(original)
    assert before > 0

    @fuzz(short=300, long=1000)
    @given(mutated(content))
    def one_ledger(made):
        mutant, forged = made
        counts["ledgers"] += 1
        changed.write_bytes(mutant)
        try:
            entries = read_ledger(changed)
        except PrivacyError as error:
            assert str(changed) in str(error)
            entries = ()
        else:
            counts["read"] += 1
            if spent(entries) < before:
                counts["shorter, told by the head"] += 1
                last = len(entries) - forged
                assert entries[:last] == original[:last]  # nothing was changed before the end
                assert forged or content.startswith(mutant) or not mutant.endswith(b"\n")
                assert not contains_head(entries, head)
        _open_and_go_on(changed, entries)

    def _open_and_go_on(file: Path, entries: tuple[LedgerEntry, ...]) -> None:
        try:
            with Ledger.open(file) as ledger:
                assert ledger.entries == entries
                ledger.spend(RELEASES[0], run="later", dataset="people", round=1)
        except PrivacyError:
            assert entries == ()
            return
        assert len(read_ledger(file)) == len(entries) + 1

    one_ledger()
    assert counts["read"] >= 1
