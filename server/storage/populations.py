"""Which speakers the releases of a ledger concern, so that no run starts from zero on any of them.

`<runs folder>/ledgers/<name>.jsonl` is the ledger of a population. Beside it are `<name>.speech`, the digests
of all corpora that its releases were made from, and `<name>.speakers`, the pseudonyms of their speakers
(`wire.pseudonyms`), as far as the nodes sent them. A corpus gets another digest when recordings are added. So
a private run on real speakers needs a name for its population (`privacy.population-name`), which stays the
same while the corpus grows.

Guarantee: if the corpora or pseudonyms of a run show that another ledger holds releases of some of its
speakers, the run does not start (`ConfigError`), unless it continues that ledger or `privacy.uncounted` names
it. Nor does it start if these notes are damaged (`LedgerCorrupt`).
Nothing here can detect the same speakers under another name, in a corpus with another digest, on nodes
without a common `speaker-namespace`; nor ledgers in another runs folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from base.counts import count_of
from recipes import ConfigError, RunConfig
from server.storage.ledger_notes import HEAD, SPEAKERS, SPEECH, SYNTHETIC, add_notes, notes_of

FOLDER = "ledgers"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_LISTED = 5


@dataclass(frozen=True, kw_only=True)
class PopulationIdentity:
    """A run's population, as far as the server can recognise it.

    Attributes:
        digests: Digests of the nodes' corpora.
        tokens: Pseudonyms of the speakers (hex).
        synthetic: Whether all speakers are synthetic.
    """

    digests: frozenset[str]
    tokens: frozenset[str] = frozenset()
    synthetic: bool = False


def ledger_path(runs: Path, name: str) -> Path:
    """Return the ledger of a population's name, or of a data set's digest, in a runs folder."""
    return runs / FOLDER / f"{_plain(name)}.jsonl"


def _plain(name: str) -> str:
    """Nodes send digests: text that is no plain name must not become a path, or several lines."""
    return name if _PLAIN.fullmatch(name) else hashlib.sha256(name.encode()).hexdigest()


def sharing(ledger: Path, population: PopulationIdentity) -> list[Path]:
    """Return the other ledgers in the folder of `ledger` that have releases of some of these speakers."""
    digests = frozenset(map(_plain, population.digests))
    return [
        path
        for path in _ledgers(ledger.parent)
        if path != ledger
        and not (
            digests.isdisjoint(_speech_of(path)) and population.tokens.isdisjoint(notes_of(path, SPEAKERS))
        )
    ]


def _ledgers(folder: Path) -> list[Path]:
    """The ledgers that have entries; a missing one is included if the notes beside it still exist."""
    present = {path for path in folder.glob("*.jsonl") if path.stat().st_size}
    noted = {path.with_suffix(".jsonl") for path in folder.glob(f"*{SPEECH}")}
    missing = {path for path in noted if not path.exists() or path.with_suffix(HEAD).exists()}
    return sorted(present | missing)


def population_of(ledger: Path) -> PopulationIdentity:
    """Return what is known of the speakers whose releases `ledger` holds."""
    return PopulationIdentity(
        digests=frozenset(_speech_of(ledger)), tokens=frozenset(notes_of(ledger, SPEAKERS))
    )


def note_population(ledger: Path, population: PopulationIdentity) -> None:
    """Add `population` to the notes beside `ledger`; they are on the disk when this returns."""
    add_notes(ledger, SPEECH, set(map(_plain, population.digests)) - {ledger.stem}, 0o644)
    add_notes(ledger, SPEAKERS, population.tokens, 0o600)
    if not population.synthetic:
        ledger.with_suffix(SYNTHETIC).unlink(missing_ok=True)
    elif ledger not in _ledgers(ledger.parent):
        add_notes(ledger, SYNTHETIC, {"synthetic"}, 0o644)


def require_name(config: RunConfig, ledger: Path, population: PopulationIdentity) -> None:
    """Refuse a private run on real speakers without a population name.

    Args:
        config: The run configuration.
        ledger: The ledger that the run would use.
        population: Its population.

    Raises:
        ConfigError: Naming the existing ledgers for the same speech.
    """
    section = config.privacy
    if section.population_name or section.stamp == "none" or population.synthetic:
        return
    existing = [
        path for path in _ledgers(ledger.parent) if path == ledger or path in sharing(ledger, population)
    ]
    raise ConfigError(
        'privacy.population-name = "": a private run on real speakers needs a name for its population. All '
        "that is spent on these speakers adds up under this name, also when their corpus grows; "
        + (_continue_in(existing) if existing else _choose_name(ledger.parent))
    )


def _continue_in(ledgers: list[Path]) -> str:
    return (
        f"earlier runs have spent on the same speech in the ledger {_listed(ledgers)}: set "
        f"privacy.population-name = {name_of(ledgers[0])!r} in this and all later runs to continue it"
    )


def first_run_remarks(config: RunConfig, ledger: Path, population: PopulationIdentity) -> list[str]:
    """Return the remark on a name's first run beside other ledgers: their speakers may be the same.

    Those that `privacy.uncounted` names have a remark of their own.
    """
    declared = _uncounted(config, ledger)
    others = [path for path in _of_real_speakers(ledger.parent) if path not in declared]
    public = config.privacy.stamp == "none" or population.synthetic
    if not others or public or ledger in _ledgers(ledger.parent):
        return []
    return [
        f"privacy.population-name = {config.privacy.population_name!r} has no releases yet: this run assumes "
        f"that none of its speakers is in the ledgers {_listed(others)}. If some are, stop it and use that "
        "name"
    ]


def _of_real_speakers(folder: Path) -> list[Path]:
    """The ledgers that are not known to have synthetic speakers only."""
    return [path for path in _ledgers(folder) if not path.with_suffix(SYNTHETIC).exists()]


def _choose_name(folder: Path) -> str:
    others = _of_real_speakers(folder)
    known = (
        f" (there are ledgers of {_listed(others)}: for the same speakers, use that name)" if others else ""
    )
    return f"set privacy.population-name to a name of your choice, e.g. 'ward-7'{known}"


def _listed(ledgers: list[Path]) -> str:
    more = f" and {len(ledgers) - _LISTED} more" if len(ledgers) > _LISTED else ""
    return ", ".join(repr(name_of(path)) for path in ledgers[:_LISTED]) + more


def require_counted(config: RunConfig, ledger: Path, population: PopulationIdentity) -> None:
    """Refuse to start in `ledger` where other ledgers hold spending of some of these speakers.

    `privacy.uncounted` can name these ledgers; the run then starts, and every report names them.

    Raises:
        ConfigError: Naming these ledgers and both ways to continue. Also if `privacy.uncounted` names a
            ledger that does not exist, or if the name of a new ledger is not plain.
    """
    name, uncounted = config.privacy.population_name, _uncounted(config, ledger)
    existing = _ledgers(ledger.parent)
    if name and not _PLAIN.fullmatch(name) and ledger not in existing:
        raise ConfigError(
            f"privacy.population-name = {name!r}: a name consists of letters, digits, '-' and '_', has at "
            "most 100 characters, and begins with a letter or digit"
        )
    for path, given in uncounted.items():
        if path not in existing:
            raise ConfigError(
                f"privacy.uncounted: there is no ledger {given!r} in {ledger.parent}; remove this name"
            )
    if others := [path for path in sharing(ledger, population) if path not in uncounted]:
        all_names = ",".join([*uncounted.values(), *map(name_of, others)])
        raise ConfigError(
            f"privacy.population-name = {name!r}: earlier runs have spent on some of these speakers in "
            f"{others[0]}, and this run would not count that. Set privacy.population-name = "
            f"{name_of(others[0])!r} in this and all later runs to continue that ledger; or set "
            f'privacy.uncounted = "{all_names}" if no epsilon of this run shall include it'
        )


def require_never_enrolled(ledger: Path, anchor: frozenset[str]) -> None:
    """Refuse an anchor corpus with a speaker whose releases are in `ledger`, or in one beside it.

    The server trains on this speaker's speech without noise: each epsilon of that ledger would be false.

    Args:
        ledger: The ledger of the run.
        anchor: Pseudonyms (hex) of the speakers of the anchor corpus.

    Raises:
        ConfigError: Naming the ledger and the number of such speakers.
    """
    for path in {ledger, *_ledgers(ledger.parent)}:
        if shared := anchor & notes_of(path, SPEAKERS):
            raise ConfigError(
                f"server.anchor-corpus: earlier runs have enrolled {len(shared)} of its speakers, in the "
                f"ledger {name_of(path)!r}; the server would train on their speech without noise. Take "
                "another corpus, or another server.anchor-split"
            )


def _uncounted(config: RunConfig, ledger: Path) -> dict[Path, str]:
    """The ledgers that `privacy.uncounted` names, with the name as it is given there."""
    names = filter(None, map(str.strip, config.privacy.uncounted.split(",")))
    return {path: name for name in names if (path := ledger.with_name(f"{_plain(name)}.jsonl")) != ledger}


def uncounted_remarks(config: RunConfig, ledger: Path, population: PopulationIdentity) -> list[str]:
    """Return one remark for each other ledger of some of these speakers; every report shows them."""
    others = {path: name_of(path) for path in sharing(ledger, population)}
    return [uncounted_text(name) for name in {**others, **_uncounted(config, ledger)}.values()]


def uncounted_text(name: str) -> str:
    """Return the sentence that reports a ledger whose spending no epsilon includes."""
    return (
        f"other runs have spent on some of these speakers in the ledger {name!r}: no epsilon here includes it"
    )


def uncounted_without_names(count: int) -> list[str]:
    """Return the same of so many ledgers, for whoever must not learn their names; nothing of none."""
    if not count:
        return []
    ledgers = count_of(count, "other ledger")
    return [f"other runs have spent on some of these speakers in {ledgers}: no epsilon here includes it"]


def name_of(ledger: Path) -> str:
    """Return the value of `privacy.population-name` that continues a ledger: the name in its entries."""
    with suppress(OSError, ValueError, KeyError, TypeError), ledger.open(encoding="utf-8") as file:
        name = str(json.loads(file.readline())["dataset"])
        if f"{_plain(name)}.jsonl" == ledger.name:
            return name
    return ledger.stem


def _speech_of(ledger: Path) -> set[str]:
    """Digests of the corpora of a ledger; a ledger that is named by a digest is that of this corpus."""
    return {ledger.stem, *notes_of(ledger, SPEECH)}
