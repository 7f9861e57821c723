"""Un-noised metrics of a simulation, for debugging and for experiments; no guarantee covers them.

They travel in a record of their own beside a node's sum, and only if the task asks for them. A node of a real
deployment refuses such a task (`client/node.py`). The server writes them to a file that is named as not
private (`server/storage/run_folder.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flwr.app import ConfigRecord, RecordDict

from wire.records import find_record, whole_number

RECORD = "not-private"


@dataclass(kw_only=True)
class RawMetrics:
    """Sums over the speakers that a node trained in a round.

    `update_norms` has a number for each trained tensor, in the order of the vector: the sum over the speakers
    of the L2 norm of this tensor's update, before clipping. It is empty if nobody was trained, or from a node
    that does not measure them.

    Example:
        >>> metrics = RawMetrics()
        >>> metrics.add(train_loss=2.0, clipped_share=1.0, update_norms=[0.5, 3.0])
        >>> metrics.add(train_loss=1.0, clipped_share=0.0, update_norms=[0.5, 1.0])
        >>> line = metrics.as_line(round_number=3, node=7)
        >>> line["train_loss"], line["update_norms"]
        (1.5, [0.5, 2.0])
    """

    trained: int = 0
    train_loss: float = 0.0
    clipped_share: float = 0.0
    update_norms: tuple[float, ...] = ()

    def add(self, *, train_loss: float, clipped_share: float, update_norms: Sequence[float]) -> None:
        """Count one more speaker. An update whose norms are not all finite counts as 0, as in the sum."""
        self.trained += 1
        self.train_loss += train_loss
        self.clipped_share += clipped_share
        finite = all(map(math.isfinite, update_norms))
        before = self.update_norms or (0.0,) * len(update_norms)
        self.update_norms = tuple(
            total + (norm if finite else 0.0) for total, norm in zip(before, update_norms, strict=True)
        )

    def merge(self, other: RawMetrics) -> None:
        """Add the sums over other speakers."""
        self.trained += other.trained
        self.train_loss += other.train_loss
        self.clipped_share += other.clipped_share
        norms = self.update_norms or (0.0,) * len(other.update_norms)
        added = other.update_norms or (0.0,) * len(norms)
        self.update_norms = tuple(one + more for one, more in zip(norms, added, strict=True))

    def to_record(self) -> ConfigRecord:
        """The record in the reply."""
        return ConfigRecord(
            {
                "trained": self.trained,
                "train-loss": self.train_loss,
                "clipped-share": self.clipped_share,
                "update-norms": list(self.update_norms),
            }
        )

    @classmethod
    def from_content(cls, content: RecordDict) -> RawMetrics | None:
        """Read the metrics of a reply; None if it has none.

        Raises:
            ValueError: For a number of speakers that is none, or a norm that is negative or not finite.
        """
        record = find_record(content, RECORD, ConfigRecord)
        if record is None:
            return None
        norms = record.get("update-norms", [])
        if not isinstance(norms, list) or not all(
            isinstance(one, float) and 0 <= one < math.inf for one in norms
        ):
            raise ValueError("update-norms: expected finite numbers that are not negative")
        return cls(
            trained=whole_number(record["trained"]),
            train_loss=float(record["train-loss"]),
            clipped_share=float(record["clipped-share"]),
            update_norms=tuple(norms),
        )

    def as_line(self, round_number: int, node: int) -> dict[str, float | int | list[float]]:
        """Means over the node's trained speakers, for the file."""
        count = self.trained or math.nan
        return {
            "round": round_number,
            "node": node,
            "speakers": self.trained,
            "train_loss": self.train_loss / count,
            "clipped_share": self.clipped_share / count,
            "update_norms": [total / self.trained for total in self.update_norms] if self.trained else [],
        }
