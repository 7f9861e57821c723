"""Task and answer, the messages of a round; only this module knows the names of their fields.

A task carries the round's model, once for each contacted node, and the numbers of the node's drawn speakers.
An answer carries one sum of clipped, quantised updates, packed into a number of bytes that does not depend on
the data. From a node with several drawn speakers nothing about a single one leaves. The sum over one speaker
is that speaker's clipped update, and the server is trusted with it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from torch import Tensor

from privacy import ClipBounds, Quantiser, ReplyRejected, pack
from wire.arrays import array_view, as_array
from wire.declared_plan import RECORD as PLAN
from wire.declared_plan import DeclaredPlan
from wire.inflation import REFUSED
from wire.raw_metrics import RECORD as RAW
from wire.raw_metrics import RawMetrics
from wire.records import find_record, read_record, whole_number

VERSION = 8
MODEL = "model"
CONTROL = "control"  # the record of SCAFFOLD's control variates


class NodeFailed(ReplyRejected):
    """A reply that reports a failure instead of a sum: the node, or Flower between, could not make one."""


def pack_vector(vector: Tensor) -> ArrayRecord:
    """The global model (d,) as the record that goes to the nodes."""
    return ArrayRecord({"vector": as_array(vector.numpy())})


def unpack_vector(record: ArrayRecord) -> Tensor:
    """The inverse of `pack_vector`. The result shares the record's memory and must only be read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array_view(record["vector"]))


@dataclass(frozen=True, kw_only=True)
class Task:
    """The task of a node in a round.

    Args:
        round_number: The round, from 1.
        nonce: Random text of this cohort, which the answer repeats.
        layout: Digest of the model's names and shapes.
        speakers: Numbers of the drawn speakers, as the node counted them at registration.
        bounds: Clip bounds of the released vector.
        quantiser: Quantisation of the updates.
        run: The run's name in the random choices of a speaker's training (`client.training.speaker_round`).
        dataset: Digest of the node's data at registration; "" if unknown.
        portion: The part of that data that the node held (`wire.node_info.NodeInfo.portion`); "" if unknown.
        frozen: Digest of the parameters that are not trained; "" if all are.
        raw_metrics: Whether the server asks for un-noised metrics; simulations only.
        plan: The declared privacy plan; None in simulations.

    Example:
        >>> from privacy import LayerLayout
        >>> layout = LayerLayout.of({"weight": (4,)})
        >>> bounds = ClipBounds.of("dim", 1.0, layout, statistics=2)
        >>> Task(
        ...     round_number=1, nonce="n", layout=layout.digest, speakers=(0, 3), bounds=bounds,
        ...     quantiser=Quantiser.of(bounds),
        ... ).speakers
        (0, 3)
    """

    round_number: int
    nonce: str
    layout: str
    speakers: tuple[int, ...]
    bounds: ClipBounds
    quantiser: Quantiser
    run: str = ""
    dataset: str = ""
    portion: str = ""
    frozen: str = ""
    raw_metrics: bool = False
    plan: DeclaredPlan | None = None

    def to_message(self, node: int, arrays: ArrayRecord, ttl_seconds: float) -> Message:
        """The message for `node`; all messages of a round share `arrays`."""
        config = ConfigRecord(
            {
                "version": VERSION,
                "round": self.round_number,
                "nonce": self.nonce,
                "run": self.run,
                "layout": self.layout,
                "dataset": self.dataset,
                "portion": self.portion,
                "frozen": self.frozen,
                "speakers": list(self.speakers),
                "bound-offsets": list(self.bounds.offsets),
                "bounds": list(self.bounds.bounds),
                "quantisation-step": self.quantiser.step,
                "quantisation-bits": self.quantiser.bits,
                "statistics": self.bounds.statistics,
                "indicators": self.bounds.indicators,
                "clip-action": self.bounds.action,
                "raw-metrics": self.raw_metrics,
            }
        )
        content = RecordDict({MODEL: arrays, "task": config})
        if self.plan is not None:
            content[PLAN] = self.plan.to_record()
        return Message(content, node, MessageType.TRAIN, ttl=ttl_seconds)

    @classmethod
    def from_message(cls, message: Message) -> tuple[Task, Tensor]:
        """Read a task and the round's model as a vector (d,).

        Raises:
            ValueError: If the message has another version of this protocol.
        """
        config = read_record(message.content, "task", ConfigRecord)
        if config["version"] != VERSION:
            raise ValueError(other_version("the server", config["version"], "this node"))
        task = cls(
            round_number=int(config["round"]),
            nonce=str(config["nonce"]),
            run=str(config["run"]),
            layout=str(config["layout"]),
            dataset=str(config["dataset"]),
            portion=str(config["portion"]),
            frozen=str(config["frozen"]),
            speakers=tuple(config["speakers"]),
            bounds=ClipBounds(
                offsets=tuple(config["bound-offsets"]),
                bounds=tuple(config["bounds"]),
                statistics=int(config["statistics"]),
                indicators=int(config["indicators"]),
                action=str(config["clip-action"]),
            ),
            quantiser=Quantiser(
                step=float(config["quantisation-step"]), bits=int(config["quantisation-bits"])
            ),
            raw_metrics=bool(config["raw-metrics"]),
            plan=DeclaredPlan.in_content(message.content),
        )
        return task, unpack_vector(read_record(message.content, MODEL, ArrayRecord))

    @staticmethod
    def speakers_in(message: Message) -> int:
        """The number of drawn speakers in a message; 0 if it is not a task."""
        config = find_record(message.content, "task", ConfigRecord)
        return len(config["speakers"]) if config else 0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A node's part of a round: the packed sum over its drawn speakers, in quantisation steps.

    `count` is the number of speakers in the sum. `dataset` is the digest of the data that the node holds now,
    or the task's own if the node did not check it. `raw` are un-noised metrics, if the task asked for them.
    """

    round_number: int
    nonce: str
    layout: str
    count: int
    packed: npt.NDArray[np.uint8]
    dataset: str = ""
    raw: RawMetrics | None = None

    @classmethod
    def of(
        cls, task: Task, total: Tensor, raw: RawMetrics | None = None, dataset: str | None = None
    ) -> Answer:
        """Pack the sum `total` (task.bounds.size,) over the speakers of `task` as the answer to it."""
        count = len(task.speakers)
        return cls(
            round_number=task.round_number,
            nonce=task.nonce,
            layout=task.layout,
            count=count,
            packed=pack(total, count, task.bounds, task.quantiser),
            dataset=task.dataset if dataset is None else dataset,
            raw=raw,
        )

    def to_record(self) -> RecordDict:
        """The content of the reply."""
        config = ConfigRecord(
            {
                "version": VERSION,
                "round": self.round_number,
                "nonce": self.nonce,
                "layout": self.layout,
                "dataset": self.dataset,
                "count": self.count,
            }
        )
        sums = ArrayRecord({"packed": as_array(self.packed)})
        asked_for = {RAW: self.raw.to_record()} if self.raw else {}
        return RecordDict({"sum": sums, "answer": config, **asked_for})

    @classmethod
    def from_message(cls, message: Message) -> Answer:
        """Read a reply.

        Raises:
            NodeFailed: With the reason, if the node, or Flower in its place, reports that there is no sum.
            ReplyRejected: With the reason, if the reply does not follow this protocol.
        """
        if message.has_error() and message.error.code == REFUSED:
            raise ReplyRejected(message.error.reason)
        if message.has_error():
            raise NodeFailed(f"Flower error {message.error.code}: {message.error.reason}")
        try:
            config = read_record(message.content, "answer", ConfigRecord)
            if "problem" in config:
                raise NodeFailed(f"the node reports: {config['problem']}")
            if config["version"] != VERSION:
                raise ReplyRejected(other_version("the node", config["version"], "this server"))
            return cls(
                round_number=whole_number(config["round"]),
                nonce=str(config["nonce"]),
                layout=str(config["layout"]),
                dataset=str(config["dataset"]),
                count=whole_number(config["count"]),
                packed=array_view(read_record(message.content, "sum", ArrayRecord)["packed"]),
                raw=RawMetrics.from_content(message.content),
            )
        except ReplyRejected:
            raise
        except Exception as error:  # hostile bytes raise many kinds of errors in numpy, torch and Flower
            raise ReplyRejected(f"the reply cannot be read ({type(error).__name__})") from None


def other_version(they: str, theirs: object, we: str) -> str:
    """The message for two releases with different protocols, with the remedy."""
    return f"{they} speaks protocol {theirs}, {we} {VERSION}: install the same release of murmuration on both"


def problem(reason: str) -> RecordDict:
    """The content of a reply that reports why there is no sum."""
    return RecordDict({"answer": ConfigRecord({"version": VERSION, "problem": reason})})
