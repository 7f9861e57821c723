"""The run folder: all files that a run leaves, and the link `latest` to the newest run folder.

config.toml        the complete configuration; comments have the run's id and the release
ledger.jsonl       the privacy ledger of the population (a link, see server/storage/populations.py): each
                   release, written before it was released; the entries of this run have its id
metrics.jsonl      one line per round (docs/metrics.md); a line with "resumed": true begins the rounds of a
                   resumed run and replaces all lines above it with the same or a later round
checkpoints/       the two newest checkpoints
seed.safetensors   the model that the run started from
model.safetensors  the newest released model
summary.txt        the summary; for those who run the server, because it names failed nodes and shows traffic
evaluation.json    the final model on the held-out speakers: errors by kind, intervals, quantiles
evaluation-*.partial  transcripts of held-out speech, until the run ends: an interrupted evaluation goes on
card.md            the model card
traffic.jsonl      drawn speakers, answers, bytes and seconds, by round and node: not for publication
not_private.jsonl  metrics without noise; only in a simulation with run.raw-metrics
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tomli_w

from base.release import release
from recipes import ConfigError, RunConfig, runs_folder
from server.storage.checkpoints import UNFINISHED, load_checkpoint
from server.storage.json_lines import append_lines, cut_torn_line, read_lines
from strategies import RoundReport
from wire.raw_metrics import RawMetrics

MOST_ROUNDS = 10**9
RESTORE = "restore it from a copy, or remove it"
EARLIER_NAMES = {"heard_in_training": "speakers_in_training"}  # of values in evaluation.json
NOT_PRIVATE = (
    "These metrics come from the nodes without noise. No epsilon of this run covers them: do not publish "
    "this file, nor a choice that is based on it, as private."
)

WHO_WAS_DRAWN = (
    "How many speakers were drawn, how long their training took, and the bytes sent to and received from "
    "each node, which show where they were. The epsilon of the run holds only if this stays secret: keep "
    "this file, summary.txt and the log with the server."
)


def unwritable(config: RunConfig, what: str, error: OSError) -> ConfigError:
    """Return the error that reports that `what`, in the runs folder, cannot be written."""
    return ConfigError(
        f"run.folder = {str(runs_folder(config.run.folder))!r}: {what} cannot be written ({error.strerror}); "
        "choose a folder that the process running the ServerApp may write"
    )


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run folder, and how its files are written and read."""

    path: Path

    @classmethod
    def create(cls, config: RunConfig, run_id: str, run: str = "") -> RunFolder:
        """Make a new folder in `run.folder`, and make `latest` a link to it.

        Guarantee: no other run has this folder, also if runs with the same `run_id` begin in the same second.

        Args:
            config: The run configuration.
            run_id: Flower's number of the run.
            run: The run's id (`server.storage.run_ids`).

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
            about = f"# privacy: {config.privacy.stamp}\n# run: {run}\n# release: {release()}\n"
            text = f"{about}\n{tomli_w.dumps(nested)}"
            (path / "config.toml").write_text(text, encoding="utf-8")
            _point(parent / "latest", path)
        except OSError as error:
            raise unwritable(config, str(path), error) from error
        return cls(path)

    def reopen(self) -> RunFolder:
        """Prepare this folder for a resumed run: repair what a crash left torn, and link `latest` to it.

        The reports of an earlier end are deleted: they would lie beside a newer model.
        """
        for unfinished in (self.path / "checkpoints").glob(f"*{UNFINISHED}"):
            unfinished.unlink()
        cut_torn_line(self.metrics)
        cut_torn_line(self.traffic)
        for report in (self.evaluation, self.card, self.summary):
            report.unlink(missing_ok=True)
        _point(self.path.parent / "latest", self.path)
        return self

    @property
    def metrics(self) -> Path:
        """Metrics by round."""
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
        """Return the path of a round's checkpoint."""
        return self.path / "checkpoints" / f"round-{round_number:06d}.safetensors"

    def newest_checkpoint(self) -> Path | None:
        """Return the checkpoint of the latest round, or None if there is none."""
        found = self._checkpoints()
        return found[-1] if found else None

    def drop_old_checkpoints(self, keep: int = 2) -> None:
        """Delete all but the newest `keep` checkpoints."""
        for old in self._checkpoints()[:-keep]:
            old.unlink()

    @property
    def not_private(self) -> Path:
        """Metrics without noise, of a simulation."""
        return self.path / "not_private.jsonl"

    def append_raw_metrics(
        self, tensors: Sequence[str], round_number: int, node: int, raw: RawMetrics
    ) -> None:
        """Add a line to not_private.jsonl; its first line is a warning, with the names of the tensors.

        Args:
            tensors: The names of the trained tensors, in the order of `raw.update_norms`.
            round_number: The round, from 1.
            node: The node's number.
            raw: What it sent.
        """
        if not self.not_private.exists():
            self.not_private.touch(0o600)
            append_lines(self.not_private, {"not_private": NOT_PRIVATE, "tensors": list(tensors)})
        append_lines(self.not_private, raw.as_line(round_number, node))

    @property
    def traffic(self) -> Path:
        """Drawn speakers, answers and traffic, by round and node."""
        return self.path / "traffic.jsonl"

    def append_traffic(self, report: RoundReport, seconds: float) -> None:
        """Add a round, which took `seconds`, to traffic.jsonl; only the file's owner can read it."""
        if not self.traffic.exists():
            self.traffic.touch(0o600)
            append_lines(self.traffic, {"keep_secret": WHO_WAS_DRAWN})
        append_lines(
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
        append_lines(self.traffic, *({"round": report.round_number, **asdict(one)} for one in report.traffic))

    def traffic_of_all_rounds(self) -> tuple[int, int]:
        """Return the bytes sent to the nodes and received from them, in all rounds of the file."""
        if not self.traffic.exists():
            return 0, 0
        with self.traffic.open(encoding="utf-8") as file:
            rounds = [json.loads(line) for line in file if '"drawn"' in line]
        return sum(one["bytes_down"] for one in rounds), sum(one["bytes_up"] for one in rounds)

    def rounds_made(self, filed: int) -> int:
        """Return the number of rounds that the run has made.

        Args:
            filed: Number of rounds at the newest checkpoint; the metrics may have later rounds.
        """
        return max([filed, *(int(line["round"]) for line in self.read_metrics())])

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl, which all have a round.

        Raises:
            ConfigError: If one has none, or is no JSON object, with the file and the line.
        """
        lines = read_lines(self.metrics)
        for number, line in enumerate(lines, 1):
            if type(line.get("round")) is not int or not 0 <= line["round"] < MOST_ROUNDS:
                raise ConfigError(
                    f"{self.metrics}:{number}: has no number of a round (round = {line.get('round')!r}); "
                    "restore the file from a copy"
                )
        return lines

    def append_metrics(self, metrics: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl."""
        append_lines(self.metrics, metrics)

    def _checkpoints(self) -> list[Path]:
        return sorted((self.path / "checkpoints").glob("round-*.safetensors"))

    @property
    def evaluation(self) -> Path:
        """Evaluation of the final model on the held-out speakers."""
        return self.path / "evaluation.json"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.path / "card.md"

    @property
    def summary(self) -> Path:
        """The summary."""
        return self.path / "summary.txt"

    @property
    def own_speech(self) -> bool:
        """Whether the nodes may have had other speech than the recipe's corpus; False only if it is known."""
        newest, evaluation = self.newest_checkpoint(), self.read_evaluation()
        if newest is None or evaluation is None:
            return True
        return bool(evaluation.get("corpus") != load_checkpoint(newest, tensors=False).identity.dataset)

    def unfinished_evaluation(self, of: str) -> Path:
        """The results so far of an evaluation of the "seed" or the "final" model."""
        return self.path / f"evaluation-{of}{UNFINISHED}"

    def drop_unfinished_evaluations(self) -> None:
        """Remove what is kept of evaluations that are finished."""
        for of in ("seed", "final"):
            self.unfinished_evaluation(of).unlink(missing_ok=True)

    def read_evaluation(self) -> dict[str, Any] | None:
        """Return evaluation.json, of this release or an earlier one; None if there is no such file.

        Raises:
            ConfigError: If it is no JSON object.
        """
        if not self.evaluation.is_file():
            return None
        try:
            found = json.loads(self.evaluation.read_bytes())
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{self.evaluation}: is no JSON ({error}); {RESTORE}") from None
        if not isinstance(found, dict):
            raise ConfigError(f"{self.evaluation}: is no JSON object; {RESTORE}")
        values: dict[str, Any] = found
        return {EARLIER_NAMES.get(name, name): value for name, value in values.items()}

    def write_evaluation(self, summary: Mapping[str, Any]) -> None:
        """Write evaluation.json."""
        self.evaluation.write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _fresh(path: Path) -> Path:
    """Make the folder `path`, or `path`-2, `path`-3 and so on if another run already made it."""
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
    """Replace the link in one step, so that it always has a target."""
    fresh = link.with_name(f".latest-{secrets.token_hex(4)}")
    fresh.symlink_to(target.name)
    fresh.replace(link)
