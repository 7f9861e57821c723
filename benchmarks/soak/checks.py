"""What must hold at every moment of a soak, looked at from the host: the ledger, and what was released.

A look reads what was released before it reads the ledger: if it was spent first, it has its entry there.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from benchmarks.soak.events import Events
from cli.ledger.command import NamedLedger, verified
from privacy import LedgerEntry, epsilon, ledger_releases, read_ledger
from server.errors import ResumeRefused
from server.storage.checkpoints import load_checkpoint
from server.storage.run_folder import RunFolder

CLOSE = 1e-9


def folders(runs: Path) -> list[Path]:
    """All run folders."""
    if not runs.is_dir():
        return []
    return sorted(
        path for path in runs.iterdir() if (path / "checkpoints").is_dir() and not path.is_symlink()
    )


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of rounds in metrics.jsonl; what a crash tore is no line."""
    file = folder / "metrics.jsonl"
    if not file.is_file():
        return []
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1] if line]
    return [line for line in lines if line["round"] > 0 and not line.get("resumed")]


def run_of_folder(folder: Path) -> str:
    """The id of a folder's run, as its config.toml has it."""
    file = folder / "config.toml"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return next((line.removeprefix("# run:").strip() for line in lines if line.startswith("# run:")), "")


@dataclass
class Watch:
    """Looks at ledgers and run folders; each violation is an event, told once."""

    runs: Path
    events: Events
    looks: int = 0
    released: int = 0
    last_round: float = 0.0
    seen: dict[Path, bytes] = field(default_factory=dict)
    known: Counter[str] = field(default_factory=Counter)
    finite: set[tuple[Path, float]] = field(default_factory=set)
    told: set[str] = field(default_factory=set)

    def look(self) -> None:
        """One look at everything."""
        found = folders(self.runs)
        rows = {folder: rows_of(folder) for folder in found}
        heads = {folder: head for folder in found if (head := self._head(folder))}
        entries = self._entries()
        for folder in found:
            self._rounds(folder, rows[folder], entries)
            self._models(folder)
            if folder in heads and heads[folder] not in _heads(entries):
                self._violation("ledger", f"{folder.name}: its checkpoint's head is in no ledger")
        self.looks += 1

    def verify(self) -> None:
        """What `murmur ledger verify` says of each ledger."""
        for ledger in sorted((self.runs / "ledgers").glob("*.jsonl")):
            try:
                verified(NamedLedger(ledger, None))
            except Exception as error:  # looked at once more, since a line may have been half written
                self.events.add("verify again", said=str(error))
                try:
                    verified(NamedLedger(ledger, None))
                except Exception as again:
                    self._violation("verify", str(again))

    def recompute(self) -> int:
        """Compare each epsilon that was shown with that of the ledger's entries; returns how many."""
        compared = 0
        entries = self._entries()
        for folder in folders(self.runs):
            run = run_of_folder(folder)
            own = [entry for entry in entries if entry.run == run]
            highest = 0.0
            if (delta := _delta(folder)) is None:
                continue
            for row in rows_of(folder):
                shown = float(row["epsilon_rdp_this_run"])
                ends = [place + 1 for place, entry in enumerate(own) if entry.round == row["round"]]
                possible = [epsilon(ledger_releases(own[:end]), delta, pld=False).value for end in ends]
                if not any(math.isclose(shown, value, rel_tol=CLOSE) for value in possible):
                    self._violation(
                        "epsilon", f"{folder.name} round {row['round']}: {shown}, ledger {possible}"
                    )
                if shown < highest:
                    self._violation("epsilon", f"{folder.name} round {row['round']}: fell to {shown}")
                highest = max(highest, shown)
                compared += 1
        return compared

    def _entries(self) -> tuple[LedgerEntry, ...]:
        """The entries of all ledgers, each of which must go on where it was before."""
        entries: list[LedgerEntry] = []
        for ledger in sorted((self.runs / "ledgers").glob("*.jsonl")):
            content = ledger.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            if not whole.startswith(self.seen.get(ledger, b"")):
                self._violation("ledger", f"{ledger.name}: its earlier entries have changed or are gone")
            self.seen[ledger] = whole
            read = read_ledger(ledger)
            entries += read
            self._order(read)
        return tuple(entries)

    def _order(self, entries: tuple[LedgerEntry, ...]) -> None:
        """Rounds of a run go on by one, or back where it was resumed; its releases are all as planned."""
        last: dict[str, LedgerEntry] = {}
        for place, entry in enumerate(entries):
            if entry.sequence != place:
                self._violation("ledger", f"entry {place} says that it is {entry.sequence}")
            before = last.get(entry.run)
            if entry.round > (before.round if before else 0) + 1:
                self._violation("ledger", f"entry {place}: round {entry.round} after {before}")
            if before and entry.release != before.release:
                self._violation("plan", f"entry {place}: {entry.release}, before {before.release}")
            last[entry.run] = entry

    def _rounds(self, folder: Path, rows: list[dict[str, Any]], entries: tuple[LedgerEntry, ...]) -> None:
        """Each round that was shown is in the ledger, as often as it was shown."""
        run = run_of_folder(folder)
        spent = Counter(entry.round for entry in entries if entry.run == run)
        for number, times in Counter(row["round"] for row in rows).items():
            if times > spent[number]:
                self._violation(
                    "spend first", f"{folder.name} round {number}: {times} rows, {spent[number]} entries"
                )
        for row in rows[self.known[folder.name] :]:
            self.released += 1
            self.last_round = self.events.now()
            self.events.add("round", folder=folder.name, round=row["round"], wer=row["wer"])
        self.known[folder.name] = max(len(rows), self.known[folder.name])

    def _head(self, folder: Path) -> str:
        newest = RunFolder(folder).newest_checkpoint()
        if newest is None:
            return ""
        try:
            return load_checkpoint(newest, tensors=False).ledger_head
        except Exception as error:
            if newest.exists():  # else a newer one has taken its place meanwhile
                self._violation("checkpoint", f"{folder.name}/{newest.name}: {error}")
            return ""

    def _models(self, folder: Path) -> None:
        """The released model is a whole file of finite numbers."""
        model = folder / "model.safetensors"
        if not model.is_file() or (key := (model, model.stat().st_mtime)) in self.finite:
            return
        try:
            if not all(bool(tensor.isfinite().all()) for tensor in load_file(model).values()):
                self._violation("model", f"{model} holds numbers that are not finite")
        except Exception as error:
            self._violation("model", f"{model} cannot be read: {error}")
        self.finite.add(key)

    def _violation(self, of: str, said: str) -> None:
        if said not in self.told:
            self.told.add(said)
            self.events.add("violation", of=of, said=said)


def lost_replies(runs: Path) -> tuple[int, int, Counter[str]]:
    """Rounds in traffic.jsonl, those in which an asked node's reply was missing, and the reasons."""
    rounds = lost = 0
    reasons: Counter[str] = Counter()
    for folder in folders(runs):
        file = folder / "traffic.jsonl"
        lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.is_file() else []
        for line in map(json.loads, lines):
            if "drawn" in line:
                rounds += 1
                lost += line["nodes_answered"] < line["nodes_asked"]
                reasons.update(str(drop["reason"])[:60] for drop in line["dropped"])
    return rounds, lost, reasons


def _heads(entries: tuple[LedgerEntry, ...]) -> set[str]:
    from privacy.ledger.ledger import head_of

    return {"0" * 64, *(entry.previous for entry in entries), head_of(entries)}


def _delta(folder: Path) -> float | None:
    """The delta of a run, as its newest checkpoint has it; None without one that can be read."""
    newest = RunFolder(folder).newest_checkpoint()
    try:
        return load_checkpoint(newest, tensors=False).plan.delta if newest else None
    except ResumeRefused:  # `look` has told
        return None
