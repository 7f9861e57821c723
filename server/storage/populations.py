"""Whose releases a ledger holds, and that no run on any of the same people begins with nothing spent.

`<runs folder>/ledgers/<people>.jsonl` is the ledger of a population. Beside it lie `<people>.speech`, the
digests of all corpora that its releases were made from, and `<people>.speakers`, their speakers' pseudonyms
(`wire.pseudonyms`), as far as nodes sent them. A corpus that gains a recording has another digest; so
a private run on people needs a name for them (`privacy.people`), which stays while the corpus grows.

Guarantee: where a run's corpora or pseudonyms show that another ledger holds releases of some of its people,
the run does not start (`ConfigError`), unless it goes on in that ledger or `privacy.uncounted` names it; nor
does it where these notes are damaged (`LedgerCorrupt`).
What nothing here can see: the same people under another name, in a corpus with another digest, on nodes
without a common `speaker-namespace`; and the ledgers of another runs folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from recipes import ConfigError, RunConfig

FOLDER = "ledgers"
SPEECH, SPEAKERS, HEAD, SYNTHETIC = ".speech", ".speakers", ".head", ".synthetic"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_LISTED = 5


@dataclass(frozen=True, kw_only=True)
class PopulationIdentity:
    """A run's people as the server knows them: the digests of their corpora and their tokens (hex)."""

    digests: frozenset[str]
    tokens: frozenset[str] = frozenset()
    synthetic: bool = False


def ledger_path(runs: Path, people: str) -> Path:
    """The ledger of a name, or of a data set's digest, within a runs folder."""
    return runs / FOLDER / f"{_plain(people)}.jsonl"


def _plain(people: str) -> str:
    """Nodes send the digest: what is no plain name must not become a path, or several lines."""
    return people if _PLAIN.fullmatch(people) else hashlib.sha256(people.encode()).hexdigest()


def sharing(ledger: Path, people: PopulationIdentity) -> list[Path]:
    """Other ledgers beside `ledger` that are known to hold releases of some of these people."""
    digests = frozenset(map(_plain, people.digests))
    return [
        path
        for path in _ledgers(ledger.parent)
        if path != ledger
        and not (digests.isdisjoint(_speech_of(path)) and people.tokens.isdisjoint(_noted(path, SPEAKERS)))
    ]


def _ledgers(folder: Path) -> list[Path]:
    """The ledgers that hold something; one that is gone held something too, if its speech was noted."""
    there = {path for path in folder.glob("*.jsonl") if path.stat().st_size}
    noted = {path.with_suffix(".jsonl") for path in folder.glob(f"*{SPEECH}")}
    gone = {path for path in noted if not path.exists() or path.with_suffix(HEAD).exists()}
    return sorted(there | gone)


def people_of(ledger: Path) -> PopulationIdentity:
    """Whose releases `ledger` is known to hold."""
    return PopulationIdentity(
        digests=frozenset(_speech_of(ledger)), tokens=frozenset(_noted(ledger, SPEAKERS))
    )


def note_people(ledger: Path, people: PopulationIdentity) -> None:
    """Add to what is known of whose releases `ledger` holds; it is on the disk when this returns."""
    add_notes(ledger, SPEECH, set(map(_plain, people.digests)) - {ledger.stem}, 0o644)
    add_notes(ledger, SPEAKERS, people.tokens, 0o600)
    if not people.synthetic:
        ledger.with_suffix(SYNTHETIC).unlink(missing_ok=True)
    elif ledger not in _ledgers(ledger.parent):
        add_notes(ledger, SYNTHETIC, {"synthetic"}, 0o644)


def require_name(config: RunConfig, ledger: Path, people: PopulationIdentity) -> None:
    """Refuse a private run on people without a name for them; `ledger` is the one that they would have.

    Raises:
        ConfigError: Naming the ledgers that there are for the same speech.
    """
    section = config.privacy
    if section.people or section.stamp == "none" or people.synthetic:
        return
    there = [path for path in _ledgers(ledger.parent) if path == ledger or path in sharing(ledger, people)]
    raise ConfigError(
        'privacy.people = "": a private run on people needs a name for them, under which all that is ever '
        "spent on them adds up while their corpus grows; "
        + (_go_on_in(there) if there else _new_name(ledger.parent))
    )


def _go_on_in(ledgers: list[Path]) -> str:
    return (
        f"earlier runs have spent on the same speech in {_listed(ledgers)}: set privacy.people = "
        f"{name_of(ledgers[0])!r}, now and from now on, to go on in that ledger"
    )


def first_run(config: RunConfig, ledger: Path, people: PopulationIdentity) -> list[str]:
    """What is to be said of a name's first run where other ledgers are, whose people it may share unseen."""
    others = _of_people(ledger.parent)
    if not others or config.privacy.stamp == "none" or people.synthetic or ledger in _ledgers(ledger.parent):
        return []
    return [
        f"privacy.people = {config.privacy.people!r} has spent nothing yet: this run takes its people to be "
        f"none of those of the ledgers {_listed(others)}. If some are, stop it and take that name"
    ]


def _of_people(folder: Path) -> list[Path]:
    """The ledgers that are not known to be of synthetic speakers alone."""
    return [path for path in _ledgers(folder) if not path.with_suffix(SYNTHETIC).exists()]


def _new_name(folder: Path) -> str:
    others = _of_people(folder)
    known = (
        f" (there are ledgers of {_listed(others)}: for the same people, take that name)" if others else ""
    )
    return f"set privacy.people to a name of your choice, e.g. 'ward-7'{known}"


def _listed(ledgers: list[Path]) -> str:
    more = f" and {len(ledgers) - _LISTED} more" if len(ledgers) > _LISTED else ""
    return ", ".join(repr(name_of(path)) for path in ledgers[:_LISTED]) + more


def require_counted(config: RunConfig, ledger: Path, people: PopulationIdentity) -> None:
    """Refuse to begin in `ledger` where others hold some of these people's spending, unless it is said.

    Raises:
        ConfigError: Naming those ledgers and both ways to go on; or a ledger of `privacy.uncounted` that is
            not there, or a new name that is not plain.
    """
    name, said, there = config.privacy.people, _left_aside(config, ledger), _ledgers(ledger.parent)
    if name and not _PLAIN.fullmatch(name) and ledger not in there:
        raise ConfigError(
            f"privacy.people = {name!r}: a name has letters, digits, '-' and '_', at most 100, and begins "
            "with a letter or digit"
        )
    for path, unknown in said.items():
        if path not in there:
            raise ConfigError(
                f"privacy.uncounted: there is no ledger {unknown!r} in {ledger.parent}; leave it out"
            )
    if others := [path for path in sharing(ledger, people) if path not in said]:
        both = ",".join([*said.values(), *map(name_of, others)])
        raise ConfigError(
            f"privacy.people = {name!r}: earlier runs have spent on some of these people in {others[0]}, and "
            f"this run would begin with that uncounted. Set privacy.people = {name_of(others[0])!r}, now and "
            f'from now on, to go on in that ledger; or say privacy.uncounted = "{both}" if no epsilon of '
            "this run shall count it"
        )


def _left_aside(config: RunConfig, ledger: Path) -> dict[Path, str]:
    """The ledgers that `privacy.uncounted` names, and how."""
    names = filter(None, map(str.strip, config.privacy.uncounted.split(",")))
    return {path: name for name in names if (path := ledger.with_name(f"{_plain(name)}.jsonl")) != ledger}


def uncounted(config: RunConfig, ledger: Path, people: PopulationIdentity) -> list[str]:
    """What is to be said, each time, of other ledgers of some of these people: a line for each."""
    others = {path: name_of(path) for path in sharing(ledger, people)}
    return [uncounted_text(name) for name in {**others, **_left_aside(config, ledger)}.values()]


def uncounted_text(name: str) -> str:
    """What an epsilon leaves out, in words."""
    return (
        f"other runs have spent on some of these people in the ledger {name!r}: no epsilon here counts that"
    )


def name_of(ledger: Path) -> str:
    """What `privacy.people` must be to go on in a ledger: as its entries have it."""
    with suppress(OSError, ValueError, KeyError, TypeError), ledger.open(encoding="utf-8") as file:
        name = str(json.loads(file.readline())["dataset"])
        if f"{_plain(name)}.jsonl" == ledger.name:
            return name
    return ledger.stem


def _speech_of(ledger: Path) -> set[str]:
    """A ledger that is named by a digest is that of its speech."""
    return {ledger.stem, *_noted(ledger, SPEECH)}


def _noted(ledger: Path, suffix: str) -> set[str]:
    file = ledger.with_suffix(suffix)
    return notes_in(file.read_bytes(), file) if file.exists() else set()


def notes_in(content: bytes, name: Path) -> set[str]:
    """The notes that a file of this content holds.

    Raises:
        LedgerCorrupt: If it is no text: to leave out what cannot be read could let people's spending begin
            anew.
    """
    try:
        return set(content.decode().split())
    except UnicodeDecodeError as error:
        from privacy import LedgerCorrupt  # here: the package takes torch along

        line = content[: error.start].count(b"\n") + 1
        raise LedgerCorrupt(
            f"{name}:{line} is damaged: it says whose releases the ledger beside it has. Move the file away "
            "and bring it back with the ledger's copy (`murmur ledger restore`); without a copy, remove what "
            "is no text from that line"
        ) from None


def add_notes(ledger: Path, suffix: str, notes: Set[str], mode: int) -> None:
    """A line for each that is new, begun by its newline, so that a torn one before it spoils no other."""
    if not (new := notes - _noted(ledger, suffix)):
        return
    import os

    from base.durable_file import append_durably, open_durably  # here: the package takes torch along

    descriptor = open_durably(ledger.with_suffix(suffix), mode)
    try:
        append_durably(descriptor, "".join(f"\n{one}" for one in sorted(new)).encode())
    finally:
        os.close(descriptor)
