"""Messages to a host: a SuperNode of a simulation that holds many nodes, and answers for each of them.

Most simulations have one speaker a node, and by the thousand. A SuperNode for each costs a registration, a
context, a message and a reply each. A host gets the tasks of its nodes in one message, with the round's model
once. Its reply has one sum, of the nodes that made one, and says which did, and why the others did not.

The nodes of a host are numbers: the host of part h of H holds the nodes h, h + H, h + 2 H ... below the
number of nodes of the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from torch import Tensor

from privacy import ReplyRejected
from wire.messages import VERSION, Answer, Task
from wire.node_info import NodeInfo
from wire.records import find_record, read_record, whole_number

RECORD = "hosted"  # in a task for several nodes, and in its answer
MOST_SPEAKERS = 32  # drawn in one message's nodes: a message is the work of one worker


def hosted_by(part: int, parts: int, nodes: int) -> range:
    """The nodes of the host of this part.

    Example:
        >>> list(hosted_by(1, 4, nodes=10))
        [1, 5, 9]
    """
    return range(part, nodes, parts)


@dataclass(frozen=True, kw_only=True)
class HostTask:
    """The tasks of a round for several nodes of one host: they differ in their speakers and portions alone.

    Attributes:
        tasks: The task of each node.
    """

    tasks: Mapping[int, Task]

    def to_message(self, host: int, arrays: ArrayRecord, ttl_seconds: float) -> Message:
        """The message for the SuperNode `host`; all messages of a round share `arrays`."""
        tasks = list(self.tasks.values())
        together = replace(
            tasks[0], speakers=tuple(one for task in tasks for one in task.speakers), portion=""
        )
        message = together.to_message(host, arrays, ttl_seconds)
        message.content[RECORD] = ConfigRecord(
            {
                "nodes": list(self.tasks),
                "counts": [len(task.speakers) for task in tasks],
                "portions": [task.portion for task in tasks],
            }
        )
        return message

    @classmethod
    def from_message(cls, message: Message) -> tuple[HostTask, Task, Tensor]:
        """Read the tasks of the nodes, the task of all of them together, and the model as a vector (d,).

        Raises:
            ValueError: If the message has another version of this protocol.
        """
        hosted = read_record(message.content, RECORD, ConfigRecord)
        together, vector = Task.from_message(message)
        ends = pairwise(accumulate(hosted["counts"], initial=0))
        tasks = {
            node: replace(together, speakers=together.speakers[begin:end], portion=portion)
            for node, (begin, end), portion in zip(hosted["nodes"], ends, hosted["portions"], strict=True)
        }
        return cls(tasks=tasks), together, vector


def is_for_a_host(message: Message) -> bool:
    """Whether a task is for several nodes of one host."""
    return find_record(message.content, RECORD, ConfigRecord) is not None


@dataclass(frozen=True, kw_only=True)
class HostAnswer:
    """What the nodes of a host answered.

    Attributes:
        answer: One sum, over the speakers of all nodes that have one.
        problems: The reasons of the other nodes.
    """

    answer: Answer
    problems: Mapping[int, str]

    def to_record(self) -> RecordDict:
        """The content of the reply."""
        content = self.answer.to_record()
        content[RECORD] = ConfigRecord(
            {"failed": list(self.problems), "reasons": list(self.problems.values())}
        )
        return content

    @classmethod
    def from_message(cls, message: Message, asked: Sequence[int]) -> HostAnswer:
        """Read a reply to the task of the nodes `asked`.

        Raises:
            NodeFailed: With the reason, if there is no answer of any of them.
            ReplyRejected: With the reason, if the reply does not follow this protocol.
        """
        answer = Answer.from_message(message)
        try:
            hosted = read_record(message.content, RECORD, ConfigRecord)
            failed = [whole_number(one) for one in hosted["failed"]]
            problems = dict(zip(failed, map(str, hosted["reasons"]), strict=True))
        except (KeyError, TypeError, ValueError) as error:
            raise ReplyRejected(f"the reply of a host cannot be read ({type(error).__name__})") from None
        if not set(problems) <= set(asked):
            raise ReplyRejected("a host reports problems of nodes that it was not asked for")
        return cls(answer=answer, problems=problems)


def pack_infos(infos: Mapping[int, NodeInfo], part: int, parts: int) -> RecordDict:
    """The answer at registration of the host of this part: what each of its nodes reports.

    All of them have one corpus, and so most in common.
    """
    first = next(iter(infos.values()))
    together = {name: getattr(first, name) for name in COMMON}
    return RecordDict(
        {
            "answer": ConfigRecord(
                {
                    "version": VERSION,
                    "host-part": part,
                    "host-parts": parts,
                    **together,
                    "nodes": list(infos),
                    **{name: [getattr(one, name) for one in infos.values()] for name in OWN},
                }
            )
        }
    )


COMMON = ("dataset", "split", "parts", "skipped", "synthetic", "namespace")
OWN = ("speakers", "part", "left", "tokens")


def unpack_infos(answer: ConfigRecord, nodes: int) -> tuple[int, int, dict[int, NodeInfo]]:
    """The host's part, the number of parts, and what each of its nodes reports; the inverse of `pack_infos`.

    Raises:
        ValueError: If the answer is not that of such a host, or describes other nodes than its own.
    """
    try:
        part, parts = whole_number(answer["host-part"]), whole_number(answer["host-parts"])
        common = {name: answer[name] for name in COMMON}
        columns = [list(answer[name]) for name in OWN]
        described = [whole_number(one) for one in answer["nodes"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"its answer is not that of a host of nodes ({type(error).__name__})") from None
    if not 0 <= part < parts or described != list(hosted_by(part, parts, nodes)):
        raise ValueError(f"it describes other nodes than those of part {part} of {parts}")
    rows = zip(*columns, strict=True)
    return (
        part,
        parts,
        {
            node: NodeInfo(**common, **dict(zip(OWN, row, strict=True)))
            for node, row in zip(described, rows, strict=True)
        },
    )
