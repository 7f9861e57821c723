"""The run folder: everything that a run leaves behind, and `latest`, which points at the newest.

config.toml       the resolved configuration; a comment has the run's id
ledger.jsonl      the privacy ledger of these people (a link, see server/storage/populations.py): what was
spent,
                  before it was released; the entries of this run carry its id, not the folder's name
metrics.jsonl     one line per round; a line with "resumed": true begins what a resumed run added, and takes
                  the place of all lines before it of the same or a later round
checkpoints/      the last two checkpoints
seed.safetensors  the model that the run started from
model.safetensors the newest released model
summary.txt       the run in words, for those who run the server: it names nodes that failed, and bytes
evaluation.json   the final model on the held-out speakers: errors by kind, intervals, quantiles over speakers
card.md           the model card
traffic.jsonl     how many were drawn and answered, bytes and seconds, by round and node: not for publication
not_private.jsonl un-noised metrics, only in a simulation that asked for them
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tomli_w

from recipes import ConfigError, RunConfig, runs_folder
from server.storage.checkpoints import UNFINISHED, load_checkpoint
from strategies import RoundReport
from wire.raw_metrics import RawMetrics

NOT_PRIVATE = (
    "These metrics come from the nodes without noise. No epsilon of this run covers them: never publish "
    "this file, nor a choice made by looking at it, as private."
)

WHO_WAS_DRAWN = (
    "How many speakers were drawn, how long they took, and the bytes sent to each node and taken from it, "
    "which tell where. The run's epsilon rests on that being secret: keep this file, summary.txt and the log "
    "with the server."
)


def unwritable(config: RunConfig, what: str, error: OSError) -> ConfigError:
    """What to say where something in the runs folder cannot be made."""
    return ConfigError(
        f"run.folder = {config.run.folder!r}: {what} cannot be written ({error.strerror}); "
        "choose a folder that the process running the ServerApp may write"
    )


@dataclass(frozen=True)
class RunFolder:
    """Paths and writers of one run's folder."""

    path: Path

    @classmethod
    def create(cls, config: RunConfig, run_id: str, run: str = "") -> RunFolder:
        """Make a fresh folder under `run.folder` and let `latest` point at it.

        `run_id` is Flower's number of the run; `run` is its identity (`server.storage.run_ids`).
        Guarantee: it is nobody else's, also where runs with the same `run_id` begin in the same second.

        Raises:
            ConfigError: If the folder cannot be made or written.
        """
        parent = runs_folder(config.run.folder)
        path = parent / f"{time.strftime('%Y%m%d-%H%M%S')}-{run_id[-6:]}"
        try:
            parent.mkdir(parents=True, exist_ok=True)
            path = _fresh(path)
            (path / "checkpoints").mkdir()
            nested: dict[str, dict[str, Any]] = config.model_dump(by_alias=True)
            text = f"# privacy: {config.privacy.stamp}\n# run: {run}\n\n{tomli_w.dumps(nested)}"
            (path / "config.toml").write_text(text, encoding="utf-8")
            _point(parent / "latest", path)
        except OSError as error:
            raise unwritable(config, str(path), error) from error
        return cls(path)

    def reopen(self) -> RunFolder:
        """Go on in this folder: mend what a crash may have torn, and let `latest` point at it.

        What was said of the model at an earlier end goes: it would lie beside a newer model.
        """
        for unfinished in (self.path / "checkpoints").glob(f"*{UNFINISHED}"):
            unfinished.unlink()
        _cut_torn_line(self.metrics)
        _cut_torn_line(self.traffic)
        for of_an_earlier_end in (self.evaluation, self.card, self.summary):
            of_an_earlier_end.unlink(missing_ok=True)
        _point(self.path.parent / "latest", self.path)
        return self

    @property
    def metrics(self) -> Path:
        """The lines of all rounds."""
        return self.path / "metrics.jsonl"

    @property
    def ledger(self) -> Path:
        """The privacy ledger."""
        return self.path / "ledger.jsonl"

    @property
    def model(self) -> Path:
        """The newest released model."""
        return self.path / "model.safetensors"

    @property
    def seed(self) -> Path:
        """The model that the run started from."""
        return self.path / "seed.safetensors"

    def checkpoint(self, round_number: int) -> Path:
        """Where the checkpoint of a round goes."""
        return self.path / "checkpoints" / f"round-{round_number:06d}.safetensors"

    def newest_checkpoint(self) -> Path | None:
        """The checkpoint of the latest round, or None before the first."""
        found = self._checkpoints()
        return found[-1] if found else None

    def drop_old_checkpoints(self, keep: int = 2) -> None:
        """Delete all but the newest `keep` checkpoints."""
        for old in self._checkpoints()[:-keep]:
            old.unlink()

    @property
    def not_private(self) -> Path:
        """Un-noised metrics of a simulation."""
        return self.path / "not_private.jsonl"

    def append_raw_metrics(self, round_number: int, node: int, raw: RawMetrics) -> None:
        """Add a line to not_private.jsonl, whose first line says what it is."""
        if not self.not_private.exists():
            self.not_private.touch(0o600)
            _append(self.not_private, {"not_private": NOT_PRIVATE})
        _append(self.not_private, raw.as_line(round_number, node))

    @property
    def traffic(self) -> Path:
        """Cohorts and bytes by round and node."""
        return self.path / "traffic.jsonl"

    def append_traffic(self, report: RoundReport, seconds: float) -> None:
        """Add a round that took so long to traffic.jsonl, which its owner alone can read."""
        if not self.traffic.exists():
            self.traffic.touch(0o600)
            _append(self.traffic, {"keep_secret": WHO_WAS_DRAWN})
        _append(
            self.traffic,
            {
                "round": report.round_number,
                "drawn": report.drawn,
                "nodes_asked": report.nodes_asked,
                "nodes_answered": report.nodes_answered,
                "dropped": [asdict(drop) for drop in report.dropped],
                "bytes_down": report.bytes_down,
                "bytes_up": report.bytes_up,
                "seconds": seconds,
            },
        )
        _append(self.traffic, *({"round": report.round_number, **asdict(one)} for one in report.traffic))

    def traffic_of_all_rounds(self) -> tuple[int, int]:
        """Bytes sent to the nodes and taken from them, over all rounds of the file."""
        if not self.traffic.exists():
            return 0, 0
        with self.traffic.open(encoding="utf-8") as file:
            rounds = [json.loads(line) for line in file if '"drawn"' in line]
        return sum(one["bytes_down"] for one in rounds), sum(one["bytes_up"] for one in rounds)

    def rounds_made(self, filed: int) -> int:
        """How many rounds the run has made: the `filed` ones of its checkpoint, or more that it showed."""
        if not self.metrics.is_file():
            return filed
        lines = self.metrics.read_text(encoding="utf-8").split("\n")[:-1]  # what follows was torn by a crash
        return max([filed, *(int(json.loads(line)["round"]) for line in lines)])

    def append_metrics(self, metrics: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl (NaN and infinity become null and "inf")."""
        _append(self.metrics, metrics)

    def _checkpoints(self) -> list[Path]:
        return sorted((self.path / "checkpoints").glob("round-*.safetensors"))

    @property
    def evaluation(self) -> Path:
        """The final model on the held-out speakers."""
        return self.path / "evaluation.json"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.path / "card.md"

    @property
    def summary(self) -> Path:
        """The run in words."""
        return self.path / "summary.txt"

    @property
    def own_speech(self) -> bool:
        """Whether the nodes held other speech than the recipe's corpus, as far as the folder shows it."""
        newest = self.newest_checkpoint()
        if newest is None or not self.evaluation.is_file():
            return True
        corpus = json.loads(self.evaluation.read_text(encoding="utf-8")).get("corpus")
        return bool(corpus != load_checkpoint(newest, tensors=False).identity.dataset)

    def write_evaluation(self, summary: Mapping[str, Any]) -> None:
        """Write evaluation.json."""
        self.evaluation.write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _fresh(path: Path) -> Path:
    """Make the folder, or `path`-2, `path`-3 and so on where another run has made it already."""
    made, number = path, 1
    while True:
        try:
            made.mkdir()
        except FileExistsError:
            number += 1
            made = path.with_name(f"{path.name}-{number}")
        else:
            return made


def _point(link: Path, target: Path) -> None:
    """Replace the link in one step, so that it never points nowhere."""
    fresh = link.with_name(f".latest-{secrets.token_hex(4)}")
    fresh.symlink_to(target.name)
    fresh.replace(link)


def _cut_torn_line(path: Path) -> None:
    """Drop a last line that a crash left without its end."""
    if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value != value:
        return None
    return str(value) if value in (float("inf"), -float("inf")) else value


def _append(path: Path, *lines: dict[str, Any]) -> None:
    plain = ({key: _plain(value) for key, value in values.items()} for values in lines)
    text = "".join(json.dumps(values, allow_nan=False) + "\n" for values in plain)
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
