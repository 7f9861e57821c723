"""Un-noised metrics of a simulation, for debugging; no guarantee covers them.

They travel in a record of their own beside a node's sum, and only if the task asks for them. A node of a real
deployment refuses such a task (`client/node.py`). The server writes them to a file that is named as not
private (`server/storage/run_folder.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flwr.app import ConfigRecord, RecordDict

from wire.records import find_record, whole_number

RECORD = "not-private"


@dataclass(kw_only=True)
class RawMetrics:
    """Sums over the speakers that a node trained in a round.

    Example:
        >>> metrics = RawMetrics()
        >>> metrics.add(train_loss=2.0, clipped_share=1.0)
        >>> metrics.add(train_loss=1.0, clipped_share=0.0)
        >>> metrics.as_line(round_number=3, node=7)["train_loss"]
        1.5
    """

    trained: int = 0
    train_loss: float = 0.0
    clipped_share: float = 0.0

    def add(self, *, train_loss: float, clipped_share: float) -> None:
        """Count one more speaker."""
        self.trained += 1
        self.train_loss += train_loss
        self.clipped_share += clipped_share

    def to_record(self) -> ConfigRecord:
        """The record in the reply."""
        return ConfigRecord(
            {"trained": self.trained, "train-loss": self.train_loss, "clipped-share": self.clipped_share}
        )

    @classmethod
    def from_content(cls, content: RecordDict) -> RawMetrics | None:
        """Read the metrics of a reply; None if it has none."""
        record = find_record(content, RECORD, ConfigRecord)
        if record is None:
            return None
        return cls(
            trained=whole_number(record["trained"]),
            train_loss=float(record["train-loss"]),
            clipped_share=float(record["clipped-share"]),
        )

    def as_line(self, round_number: int, node: int) -> dict[str, float | int]:
        """Means over the node's trained speakers, for the file."""
        count = self.trained or math.nan
        return {
            "round": round_number,
            "node": node,
            "speakers": self.trained,
            "train_loss": self.train_loss / count,
            "clipped_share": self.clipped_share / count,
        }
