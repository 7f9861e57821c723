"""The roll call before the first round: which nodes are there and how many speakers each holds."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from recipes.sections import TrainingSection
from strategies import Roster
from strategies.protocol import VERSION, one_line, other_version
from strategies.records import find_record

POLL_SECONDS = 0.2
MOST_SPEAKERS = 100_000_000  # of one node; drawing a cohort takes time with the population
MOST_CHARACTERS = 200  # of a data set's digest


class RollCallError(RuntimeError):
    """Too few nodes, or nodes that cannot take part; the message says which and why."""


@dataclass(frozen=True, kw_only=True)
class RollCall:
    """The answer of the nodes: who holds how many speakers, of which data, and what all leave untrained."""

    roster: Roster
    dataset: str
    skipped: int
    frozen: str = ""


@dataclass(frozen=True, kw_only=True)
class _Holding:
    """What one node says of itself."""

    speakers: int
    dataset: str
    skipped: int

    @classmethod
    def of(cls, answer: ConfigRecord) -> _Holding:
        """Read an answer. Raises `ValueError` with what it is, if it is none."""
        speakers, dataset, skipped = (answer.get(name) for name in ("speakers", "dataset", "skipped"))
        if not isinstance(speakers, int) or not 1 <= speakers <= MOST_SPEAKERS:
            raise ValueError(
                f"it says that it holds {speakers!r} speakers, expected is 1 to {MOST_SPEAKERS:,}: "
                "`murmur doctor` there tells more"
            )
        if not isinstance(dataset, str) or len(dataset) > MOST_CHARACTERS:
            raise ValueError(f"it names its data set {dataset!r}, expected is a digest")
        if not isinstance(skipped, int) or skipped < 0:
            raise ValueError(f"it says that it skipped {skipped!r} utterances")
        return cls(speakers=speakers, dataset=dataset, skipped=skipped)


def call_roll(grid: Grid, settings: TrainingSection, frozen: str = "") -> RollCall:
    """Wait for `min_nodes` nodes and ask each connected one for its number of speakers.

    `frozen` is the digest of what the run does not train; a node that holds other values cannot take part.

    Raises
    ------
    RollCallError
        If too few nodes come in time, or any node says it cannot take part: a private run's
        population must be known before it starts, so it does not start without them.
    """
    nodes = _wait_for_nodes(grid, settings)
    answers, problems = _ask(grid, nodes, settings.wait_seconds, frozen)
    silent = sorted(set(nodes) - set(answers) - set(problems))
    faults = [f"node {node}: {one_line(reason)}" for node, reason in problems.items()]
    faults += [f"node {node}: no answer in {settings.wait_seconds:g} s" for node in silent]
    if faults:
        raise RollCallError(_without_repeats(faults))
    counts = {node: answer.speakers for node, answer in answers.items()}
    datasets = {node: answer.dataset for node, answer in answers.items()}
    return RollCall(
        roster=Roster.of(counts, datasets),
        dataset=_dataset_of(set(datasets.values())),
        skipped=max(answer.skipped for answer in answers.values()),
        frozen=frozen,
    )


def _wait_for_nodes(grid: Grid, settings: TrainingSection) -> list[int]:
    deadline = time.monotonic() + settings.wait_seconds
    while True:
        nodes = sorted(grid.get_node_ids())
        if len(nodes) >= settings.min_nodes:
            return nodes
        if time.monotonic() > deadline:
            raise RollCallError(
                f"{len(nodes)} nodes after {settings.wait_seconds:g} s, training.min-nodes is "
                f"{settings.min_nodes}: start more SuperNodes, or lower it"
            )
        time.sleep(POLL_SECONDS)


def _ask(
    grid: Grid, nodes: list[int], wait_seconds: float, frozen: str
) -> tuple[dict[int, _Holding], dict[int, str]]:
    question = RecordDict({"query": ConfigRecord({"version": VERSION, "frozen": frozen})})
    messages = [Message(question, node, MessageType.QUERY, ttl=wait_seconds) for node in nodes]
    replies = list(grid.send_and_receive(messages, timeout=wait_seconds))
    asked = {m.metadata.message_id: m.metadata.dst_node_id for m in messages}
    answers: dict[int, _Holding] = {}
    problems: dict[int, str] = {}
    for reply in replies:
        node = asked[reply.metadata.reply_to_message_id]
        if reply.has_error():
            problems[node] = f"Flower error {reply.error.code}: {reply.error.reason}"
            continue
        answer = find_record(reply.content, "answer", ConfigRecord) or ConfigRecord()
        if answer.get("version") != VERSION:
            problems[node] = other_version("it", answer.get("version"), "this server")
        elif "problem" in answer:
            problems[node] = str(answer["problem"])
        else:
            try:
                answers[node] = _Holding.of(answer)
            except ValueError as error:
                problems[node] = str(error)
    return answers, problems


def _dataset_of(digests: set[str]) -> str:
    """One name for the data of all nodes: the same people give the same name, however spread."""
    if len(digests) == 1:
        return digests.pop()
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _without_repeats(faults: list[str]) -> str:
    """Nodes of a simulation share a corpus and its faults: show the first, count the others."""
    more = f" (and {len(faults) - 1} more nodes that cannot take part)" if len(faults) > 1 else ""
    return f"the run cannot start: {faults[0]}{more}"
