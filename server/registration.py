"""The roll call before the first round: which nodes are there and how many speakers each holds."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from base.printable_text import one_line
from recipes.sections import TrainingSection
from server.errors import RegistrationError
from server.overlaps import HeldOutSpeakers, require_nobody_held_out, require_nobody_twice
from strategies import PopulationIndex
from wire.declared_plan import RECORD as PLAN
from wire.declared_plan import DeclaredPlan
from wire.inflation import REFUSED
from wire.messages import VERSION, other_version
from wire.names import DECLARE
from wire.node_info import NodeInfo
from wire.pseudonyms import split_tokens
from wire.records import find_record

POLL_SECONDS = 0.2
MOST_UNPLANNED = 1_000_000  # speakers in all, where the recipe does not say how many there are


@dataclass(frozen=True, kw_only=True)
class Registration:
    """The answer of the nodes: who holds how many speakers, of which data, and what all leave untrained.

    `synthetic`: no node holds a person's speech. `tokens` (hex) are the pseudonyms of those who have one.
    """

    population_index: PopulationIndex
    dataset: str
    skipped: int
    frozen: str = ""
    synthetic: bool = False
    tokens: frozenset[str] = frozenset()


def register_nodes(
    grid: Grid,
    settings: TrainingSection,
    frozen: str = "",
    held_out_speakers: HeldOutSpeakers | None = None,
    planned: int = 0,
) -> Registration:
    """Wait for `min_nodes` nodes and ask each connected one for its number of speakers.

    `frozen` is the digest of what the run does not train; a node that holds other values cannot take part.
    `listeners` are the held-out speakers, whom no node may train. `planned` is the recipe's
    `privacy.population`; 0 if it has none.

    Raises:
        RollCallError: If too few nodes come in time, or any node says it cannot take part: a private run's
            population must be known before it starts, so it does not start without them. And if two nodes
            hold the same people, one holds held-out speakers (`server.overlaps`), or any claims more speakers
            than the plan can have (`require_planned`).
    """
    nodes = _wait_for_nodes(grid, settings)
    question = RecordDict({"query": ConfigRecord({"version": VERSION, "frozen": frozen})})
    said, problems = _ask(grid, nodes, question, MessageType.QUERY, settings.wait_seconds)
    answers = _read(said, problems)
    _require_all(nodes, answers, problems, settings.wait_seconds)
    require_planned({node: answer.speakers for node, answer in answers.items()}, planned)
    require_nobody_twice(answers)
    if held_out_speakers is not None:
        require_nobody_held_out(answers, held_out_speakers)
    counts = {node: answer.speakers for node, answer in answers.items()}
    datasets = {node: answer.dataset for node, answer in answers.items()}
    return Registration(
        population_index=PopulationIndex.of(counts, datasets),
        dataset=_dataset_of(set(datasets.values())),
        skipped=_skipped_by(answers.values()),
        frozen=frozen,
        synthetic=all(answer.synthetic for answer in answers.values()),
        tokens=frozenset(one.hex() for answer in answers.values() for one in split_tokens(answer.tokens)),
    )


def declare(grid: Grid, declared: DeclaredPlan, nodes: Iterable[int], wait_seconds: float) -> None:
    """Tell each node what the plan is, and have it agree, before anything is drawn or spent.

    Raises:
        RollCallError: If the plan is beyond what a node's owner allows, or a node does not answer.
    """
    content = RecordDict({PLAN: declared.to_record()})
    asked = list(nodes)
    answers, problems = _ask(grid, asked, content, f"{MessageType.QUERY}.{DECLARE}", wait_seconds)
    _require_all(asked, answers, problems, wait_seconds)


def _require_all(
    nodes: Iterable[int],
    answers: Container[int],
    problems: Mapping[int, str],
    wait_seconds: float,
) -> None:
    faults = [f"node {node}: {one_line(reason)}" for node, reason in problems.items()]
    silent = sorted(node for node in nodes if node not in answers and node not in problems)
    faults += [f"node {node}: no answer in {wait_seconds:g} s" for node in silent]
    if faults:
        raise RegistrationError(_without_repeats(faults))


def require_planned(counts: Mapping[int, int], planned: int) -> None:
    """Refuse more speakers than the plan can have, before anything that takes time or memory with them.

    A draw takes 20 ns and 2.6 bytes for each speaker, so a node that claims a hundred million makes each
    take seconds. Another number in all than was planned is `server.factory`'s to refuse.

    Raises:
        RollCallError: Naming the node that claims most, how many, and the setting.
    """
    node, total = max(counts, key=lambda one: counts[one]), sum(counts.values())
    claims = f"node {node} says that it holds {counts[node]:,} speakers"
    if planned and counts[node] > planned:
        raise RegistrationError(
            f"{claims}, privacy.population = {planned} plans for fewer in all: ask its owner, or revoke it"
        )
    if not planned and total > MOST_UNPLANNED:
        raise RegistrationError(
            f"{claims}, all nodes together {total:,}; privacy.population = 0 takes at most "
            f"{MOST_UNPLANNED:,}: set it to the number, if that is right"
        )


def _wait_for_nodes(grid: Grid, settings: TrainingSection) -> list[int]:
    deadline = time.monotonic() + settings.wait_seconds
    while True:
        nodes = sorted(grid.get_node_ids())
        if len(nodes) >= settings.min_nodes:
            return nodes
        if time.monotonic() > deadline:
            raise RegistrationError(
                f"{len(nodes)} nodes after {settings.wait_seconds:g} s, training.min-nodes is "
                f"{settings.min_nodes}: start more SuperNodes, or lower it"
            )
        time.sleep(POLL_SECONDS)


def _read(said: Mapping[int, ConfigRecord], problems: dict[int, str]) -> dict[int, NodeInfo]:
    """What the nodes hold; an answer that cannot be read is a problem."""
    answers: dict[int, NodeInfo] = {}
    for node, answer in said.items():
        try:
            answers[node] = NodeInfo.of(answer)
        except ValueError as error:
            problems[node] = str(error)
    return answers


def _ask(
    grid: Grid, nodes: list[int], content: RecordDict, action: str, wait_seconds: float
) -> tuple[dict[int, ConfigRecord], dict[int, str]]:
    """What the nodes answer, and what keeps others from it, by node."""
    messages = [Message(content, node, action, ttl=wait_seconds) for node in nodes]
    replies = list(grid.send_and_receive(messages, timeout=wait_seconds))
    asked = {m.metadata.message_id: m.metadata.dst_node_id for m in messages}
    answers: dict[int, ConfigRecord] = {}
    problems: dict[int, str] = {}
    for reply in replies:
        node = asked[reply.metadata.reply_to_message_id]
        if reply.has_error():
            told = "" if reply.error.code == REFUSED else f"Flower error {reply.error.code}: "
            problems[node] = f"{told}{reply.error.reason}"
            continue
        answer = find_record(reply.content, "answer", ConfigRecord) or ConfigRecord()
        try:
            if answer.get("version") != VERSION:
                problems[node] = other_version("it", answer.get("version"), "this server")
            elif "problem" in answer:
                problems[node] = str(answer["problem"])
            else:
                answers[node] = answer
        except ValueError as error:  # also a number of more digits than Python writes
            problems[node] = str(error)
    return answers, problems


def _skipped_by(answers: Iterable[NodeInfo]) -> int:
    """Utterances that nobody trains; the nodes that share a corpus all count those of the whole of it."""
    by_corpus: dict[str, int] = {}
    for held in answers:
        by_corpus[held.dataset] = max(held.skipped, by_corpus.get(held.dataset, 0))
    return sum(by_corpus.values())


def _dataset_of(digests: set[str]) -> str:
    """One name for the data of all nodes: the same corpora give the same name, whoever holds which part."""
    if len(digests) == 1:
        return digests.pop()
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _without_repeats(faults: list[str]) -> str:
    """Nodes of a simulation share a corpus and its faults: show the first, count the others."""
    more = f" (and {len(faults) - 1} more nodes that cannot take part)" if len(faults) > 1 else ""
    return f"the run cannot start: {faults[0]}{more}"
