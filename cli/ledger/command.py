"""`murmur ledger`: what has been spent on whose data, and whether the record is whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from base.counts import count_of
from base.printable_text import one_line
from cli.composing import config_of_run, default_config
from cli.exits import FAILED, REFUSED
from cli.ledger import profile as ledger_profile
from recipes import ConfigError, existing_run, runs_folder
from recipes.run_config import RunConfig
from server.errors import ResumeRefused
from server.storage.checkpoints import load_checkpoint
from server.storage.lost_entries import require_all_seen
from server.storage.populations import FOLDER as LEDGERS
from server.storage.run_folder import RunFolder
from server.storage.run_ids import folders_of_runs, short

if TYPE_CHECKING:
    from privacy import LedgerEntry, Release

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Show, verify, back up or restore a privacy ledger.",
)

LATEST = "latest"
LONGEST_LINE = 2000
PLACE = "A ledger, or a run folder; by default that of the newest run."


@dataclass(frozen=True)
class NamedLedger:
    """A ledger file, and the run folder through which it was named, if any."""

    ledger: Path
    folder: RunFolder | None

    @classmethod
    def of(cls, path: Path | None) -> NamedLedger:
        """From a ledger file or a run folder (`recipes.places.existing_run`); by default the newest run.

        Raises `ConfigError` if there is neither.
        """
        found = existing_run(path) if path else runs_folder() / LATEST
        if found.is_dir():
            folder = RunFolder(found.resolve())
            return cls._existing(folder.ledger, folder)
        return cls._existing(found, None)

    @classmethod
    def _existing(cls, ledger: Path, folder: RunFolder | None) -> NamedLedger:
        if not ledger.is_file():
            raise ConfigError(f"there is no ledger {ledger}: give a ledger file or a run folder")
        return cls(ledger.resolve(), folder)

    def delta(self) -> float:
        """The delta of the run's recipe, else the default one."""
        config = config_of_run(self.folder.path) if self.folder else RunConfig.from_flat(default_config())
        return config.privacy.delta


@app.command("show")
def show(
    path: Annotated[Path | None, typer.Argument(help=PLACE)] = None,
    run: Annotated[Path | None, typer.Option("--run", "-r", help="A run folder.")] = None,
    delta: Annotated[
        float | None, typer.Option(help="The delta; by default that of the run's recipe.")
    ] = None,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="Add delta at other epsilons, GDP, zCDP, and a person on many devices.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the entries, and epsilon by RDP and PLD for each data set and each run on it."""
    from privacy import LedgerCorrupt, read_ledger

    try:
        if path and run:
            raise ConfigError("give a path or --run, not both")
        place = NamedLedger.of(run or path)
        chosen = place.delta() if delta is None else delta
        entries = read_ledger(place.ledger)
        answer = {**answer_of(entries, chosen, profile), **_beside(place.ledger, entries)}
    except (ValueError, LedgerCorrupt) as error:
        typer.echo(one_line(f"murmur ledger show: {error}", most=LONGEST_LINE), err=True)
        raise typer.Exit(FAILED if isinstance(error, LedgerCorrupt) else REFUSED) from None
    answer = {"ledger": str(place.ledger), **answer}
    typer.echo(json.dumps(answer, allow_nan=False) if as_json else _text(answer))


@app.command("verify")
def verify(path: Annotated[Path | None, typer.Argument(help=PLACE)] = None) -> None:
    """Check the chain of a ledger; of a run folder, also that nothing its checkpoint saw is gone."""
    from privacy import LedgerCorrupt

    try:
        typer.echo(one_line(verified(NamedLedger.of(path)), most=LONGEST_LINE))
    except (ConfigError, LedgerCorrupt, ResumeRefused) as error:
        typer.echo(one_line(f"murmur ledger verify: {error}", most=LONGEST_LINE), err=True)
        raise typer.Exit(REFUSED if isinstance(error, ConfigError) else FAILED) from None


def verified(place: NamedLedger) -> str:
    """What could be verified, in a sentence.

    What a run that goes on adds to the ledger between two looks is no fault: then all is looked at again.
    Raises `LedgerCorrupt` naming the line, or `ResumeRefused` for a checkpoint that cannot be read.
    """
    from privacy import LedgerCorrupt

    while True:
        content = place.ledger.read_bytes()
        try:
            return _verified(place, content)
        except LedgerCorrupt:
            if place.ledger.read_bytes() == content:
                raise


def _verified(place: NamedLedger, content: bytes) -> str:
    from privacy import LedgerCorrupt, read_ledger
    from privacy.ledger.ledger import contains_head

    entries = read_ledger(place.ledger)
    if rest := content[sum(len(entry.line()) + 1 for entry in entries) :]:
        raise LedgerCorrupt(
            f"{place.ledger}: {len(entries)} entries, then {len(rest)} bytes that are no entry. If power "
            "failed as the last one was written, it was never acknowledged, nothing was released for it, and "
            "the next run cuts it off. Otherwise entries were cut, or this is no ledger: restore "
            "a copy (`murmur ledger restore`)"
        )
    said = f"{place.ledger}: {len(entries)} entries, the chain is whole"
    newest = place.folder.newest_checkpoint() if place.folder else None
    if newest is None and place.ledger.parent.name == LEDGERS:
        told = require_all_seen(place.ledger.parent.parent, place.ledger, entries)
        return "; ".join([f"{said} and holds all that the run folders beside it saw", *told])
    if newest is None:
        remedy = f"{place.folder.path} has none" if place.folder else "give a run folder"
        return f"{said} (entries cut off at the end show only beside a checkpoint: {remedy})"
    if not contains_head(entries, load_checkpoint(newest).ledger_head):
        raise LedgerCorrupt(
            f"{place.ledger}: the chain ends with line {len(entries)}, but checkpoint {newest} saw an entry "
            "that is not in it: entries were cut off at the end, or it is another ledger: restore the newest "
            "copy (`murmur ledger restore`)"
        )
    if place.ledger.parent.name == LEDGERS:
        require_all_seen(place.ledger.parent.parent, place.ledger, entries)
    return f"{said} and holds all that {newest.name} saw"


def answer_of(entries: Sequence[LedgerEntry], delta: float, profile: bool = False) -> dict[str, Any]:
    """Entries and totals in plain values, fit for JSON; an infinite epsilon is None.

    Raises `ValueError` for a delta out of range.
    """
    from privacy import ledger_releases

    def total(dataset: str, run: str | None = None) -> dict[str, Any]:
        return _total(ledger_releases(entries, dataset, run), delta)

    datasets = []
    for dataset in dict.fromkeys(entry.dataset for entry in entries):
        runs = dict.fromkeys(entry.run for entry in entries if entry.dataset == dataset)
        of_runs = [{"run": run, **total(dataset, run)} for run in runs]
        everything = ledger_releases(entries, dataset)
        more = ledger_profile.meaning(everything, delta, len(runs))
        more |= ledger_profile.profile(everything, delta) if profile else {}
        datasets.append({"dataset": dataset, **total(dataset), **more, "runs": of_runs})
    return {"delta": delta, "datasets": datasets, "entries": [_plain(entry) for entry in entries]}


def _beside(ledger: Path, entries: Sequence[LedgerEntry]) -> dict[str, Any]:
    """The folders of runs by their ids, and what is not counted here: other ledgers of some of the same
    speakers, and entries that the ledger has lost."""
    from server.storage.populations import name_of, population_of, sharing

    if ledger.parent.name != LEDGERS:
        return {"folders": {}, "uncounted": [], "lost": ""}
    return {
        "folders": folders_of_runs(ledger.parent.parent),
        "uncounted": [name_of(path) for path in sharing(ledger, population_of(ledger))],
        "lost": _lost(ledger, entries),
    }


def _lost(ledger: Path, entries: Sequence[LedgerEntry]) -> str:
    """In words, if others saw entries in this ledger that it does not have."""
    from privacy import LedgerCorrupt

    try:
        require_all_seen(ledger.parent.parent, ledger, entries)
    except LedgerCorrupt as error:
        return str(error)
    return ""


def _total(releases: Iterable[Release], delta: float) -> dict[str, Any]:
    from privacy import epsilon
    from privacy.plan import describe_epsilon

    releases = tuple(releases)
    count = sum(release.count for release in releases)
    return {"releases": count, **describe_epsilon(epsilon(releases, delta))}


def _plain(entry: LedgerEntry) -> dict[str, Any]:
    fields = json.loads(entry.line())
    return {name: fields[name] for name in ("sequence", "time_utc", "dataset", "run", "round", "release")}


def _text(answer: dict[str, Any]) -> str:
    from server.storage.populations import uncounted_text

    lines = [f"{answer['ledger']}: {len(answer['entries'])} entries, epsilon at delta {answer['delta']:g}"]
    lines += [f"WARNING: {uncounted_text(name)}" for name in answer["uncounted"]]
    lines += [f"WARNING: every epsilon here is too small: {answer['lost']}"] if answer["lost"] else []
    lines += [ledger_profile.FIXED_PLANS]
    folders = answer["folders"]
    for dataset in answer["datasets"]:
        lines += ["", f"data set {dataset['dataset']}: {_spent(dataset)}"]
        lines += ledger_profile.lines(dataset)
        lines += [f"  run {_named(run['run'], folders)}: {_spent(run)}" for run in dataset["runs"]]
        lines += [_entry(entry) for entry in answer["entries"] if entry["dataset"] == dataset["dataset"]]
    return "\n".join(one_line(line, most=LONGEST_LINE) for line in lines)  # names are others' words


def _named(run: str, folders: dict[str, str]) -> str:
    """A run's id, and its folder if it is another."""
    folder = folders.get(run, run)
    return short(run) if folder == run else f"{short(run)} (folder {folder})"


def _spent(total: dict[str, Any]) -> str:
    bounds = total["epsilon"]
    return (
        f"{count_of(total['releases'], 'release')}, epsilon {_number(total['claim'])} "
        f"(by {total['accountant']}; RDP {_number(bounds['rdp'])}, PLD {_number(bounds['pld'])})"
    )


def _entry(entry: dict[str, Any]) -> str:
    release = ", ".join(f"{name} {value}" for name, value in entry["release"].items())
    return f"    {entry['time_utc']}  run {short(entry['run'])}  round {entry['round']}  {release}"


def _number(value: float | None) -> str:
    from privacy import epsilon_text

    return "infinite" if value is None else epsilon_text(value, 6)
