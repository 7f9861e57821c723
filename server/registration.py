"""Registration before the first round: which nodes take part, and how many speakers each holds."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

from flwr.app import ConfigRecord, MessageType, RecordDict
from flwr.serverapp import Grid

from base.counts import count_of
from base.printable_text import one_line
from recipes.sections import TrainingSection
from server.errors import RegistrationError
from server.overlaps import (
    AnchorSpeakers,
    HeldOutSpeakers,
    require_nobody_held_out,
    require_nobody_in_anchor,
    require_nobody_twice,
)
from strategies import PopulationIndex
from strategies.hosting import Addressing, Hosted, OneEach
from strategies.registration import ask_nodes, connected_nodes, node_infos
from wire.declared_plan import RECORD as PLAN
from wire.declared_plan import DeclaredPlan
from wire.hosting import unpack_infos
from wire.messages import VERSION
from wire.names import DECLARE
from wire.node_info import NodeInfo
from wire.pseudonyms import split_tokens

MOST_UNPLANNED = 1_000_000  # speakers of all nodes together, where the recipe does not give their number


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What the nodes registered.

    Attributes:
        population_index: Which node holds how many speakers.
        dataset: Digest of the speech of all nodes.
        skipped: Number of utterances that cannot be used.
        frozen: Digest of the parameters that are not trained.
        synthetic: Whether all speakers of all nodes are synthetic.
        tokens: Pseudonyms (hex) of the speakers, as far as the nodes sent them.
        addressing: Whether each node is a SuperNode, or has a host.
    """

    population_index: PopulationIndex
    dataset: str
    skipped: int
    frozen: str = ""
    synthetic: bool = False
    tokens: frozenset[str] = frozenset()
    addressing: Addressing = field(default_factory=OneEach)


def register_nodes(
    grid: Grid,
    settings: TrainingSection,
    frozen: str = "",
    held_out_speakers: HeldOutSpeakers | None = None,
    planned: int = 0,
    run: str = "",
    resumed: bool = False,
    anchor: AnchorSpeakers | None = None,
) -> Registration:
    """Wait for `min_nodes` nodes and ask each connected one for the number of its speakers.

    Args:
        grid: Flower's grid.
        settings: The section `training` of the recipe.
        frozen: Digest of the parameters that are not trained; a node with other values cannot take part.
        held_out_speakers: The server's held-out speakers; no node may train on them.
        planned: The recipe's `privacy.population`; 0 if it gives none.
        run: The id of the run.
        resumed: Whether the run goes on: a node then counts the speakers that it counted as the run began
            (`client.state.departure_counts`).
        anchor: The speakers of the anchor corpus; no node may hold one of them.

    Raises:
        RegistrationError: If too few nodes connect in time, or if any node cannot take part: the population
            of a private run must be known before it starts, so it does not start without this node. Also if
            two nodes hold the same speakers or one holds held-out speakers or speakers of the anchor
            corpus (`server.overlaps`), or if the nodes report more speakers than the plan allows
            (`require_planned`).
    """
    nodes = _wait_for_nodes(grid, settings)
    asked = ConfigRecord({"version": VERSION, "frozen": frozen, "run": run, "resumed": resumed})
    query = RecordDict({"query": asked})
    answers, problems = ask_nodes(grid, nodes, query, MessageType.QUERY, settings.wait_seconds)
    if settings.hosted_nodes:
        addressing, infos = _hosted(answers, problems, settings.hosted_nodes)
        _require_all(nodes, answers, problems, settings.wait_seconds)
        _require_all_hosts(len(infos), settings)
    else:
        addressing, infos = OneEach(), node_infos(answers, problems)
        _require_all(nodes, infos, problems, settings.wait_seconds)
    counts = {node: info.speakers for node, info in infos.items()}
    require_planned(counts, planned)
    require_nobody_twice(infos)
    if held_out_speakers is not None:
        require_nobody_held_out(infos, held_out_speakers)
    if anchor is not None:
        require_nobody_in_anchor(infos, anchor)
    datasets = {node: info.dataset for node, info in infos.items()}
    return Registration(
        population_index=PopulationIndex.of(
            counts, datasets, {node: info.portion for node, info in infos.items()}
        ),
        dataset=_dataset_of(set(datasets.values())),
        skipped=_skipped_by(infos.values()),
        frozen=frozen,
        synthetic=all(info.synthetic for info in infos.values()),
        tokens=frozenset(one.hex() for info in infos.values() for one in split_tokens(info.tokens)),
        addressing=addressing,
    )


def _hosted(
    answers: Mapping[int, ConfigRecord], problems: dict[int, str], nodes: int
) -> tuple[Addressing, dict[int, NodeInfo]]:
    """What the nodes of some hosts report, and which SuperNode hosts which; faults go to `problems`."""
    hosts: dict[int, int] = {}
    infos: dict[int, NodeInfo] = {}
    all_parts = 0
    for host, answer in answers.items():
        try:
            part, parts, of_host = unpack_infos(answer, nodes)
        except ValueError as error:
            problems[host] = str(error)
            continue
        all_parts = all_parts or parts
        if parts != all_parts or part in hosts:
            other = "as another host does" if parts == all_parts else f"and another one of {all_parts}"
            problems[host] = f"it holds part {part} of {parts}, {other}"
            continue
        hosts[part] = host
        infos |= of_host
    return Hosted(hosts=hosts, parts=max(1, all_parts), nodes=nodes), infos


def _require_all_hosts(found: int, settings: TrainingSection) -> None:
    if found < settings.hosted_nodes:
        raise RegistrationError(
            f"the run cannot start: the SuperNodes that are connected hold {found} of the "
            f"training.hosted-nodes = {settings.hosted_nodes} nodes; set training.min-nodes = "
            f"{settings.min_nodes} to the number of all SuperNodes"
        )


def declare(grid: Grid, declared: DeclaredPlan, nodes: Iterable[int], wait_seconds: float) -> None:
    """Send the plan to each node and wait until all accept it, before anything is drawn or spent.

    Raises:
        RegistrationError: If the plan exceeds a limit of a node's owner, or a node does not answer.
    """
    content = RecordDict({PLAN: declared.to_record()})
    asked = list(nodes)
    answers, problems = ask_nodes(grid, asked, content, f"{MessageType.QUERY}.{DECLARE}", wait_seconds)
    _require_all(asked, answers, problems, wait_seconds)


def _require_all(
    nodes: Iterable[int],
    answered: Container[int],
    problems: Mapping[int, str],
    wait_seconds: float,
) -> None:
    faults = [f"node {node}: {one_line(reason)}" for node, reason in problems.items()]
    silent = sorted(node for node in nodes if node not in answered and node not in problems)
    faults += [f"node {node}: no answer in {wait_seconds:g} s" for node in silent]
    if faults:
        raise RegistrationError(_without_repeats(faults))


def require_planned(counts: Mapping[int, int], planned: int) -> None:
    """Refuse more speakers than the plan allows, before any work whose time or memory grows with them.

    A draw takes 20 ns and 2.6 bytes for each speaker, so a node that reports a hundred million speakers makes
    each draw take seconds. (`server.factory` refuses a total that is not the planned one.)

    Raises:
        RegistrationError: Naming the node that reports the most speakers, their number, and the setting.
    """
    node, total = max(counts, key=lambda one: counts[one]), sum(counts.values())
    reported = f"node {node} reports {counts[node]:,} speakers"
    if planned and counts[node] > planned:
        raise RegistrationError(
            f"{reported}, more than all nodes together should hold (privacy.population = {planned}): ask the "
            "owner of the node, or revoke it"
        )
    if not planned and total > MOST_UNPLANNED:
        raise RegistrationError(
            f"{reported}, all nodes together {total:,}. With privacy.population = 0, at most "
            f"{MOST_UNPLANNED:,} are accepted: if the number is right, set privacy.population = {total}"
        )


def _wait_for_nodes(grid: Grid, settings: TrainingSection) -> list[int]:
    nodes = connected_nodes(grid, settings.min_nodes, settings.wait_seconds)
    if len(nodes) < settings.min_nodes:
        raise RegistrationError(
            f"{count_of(len(nodes), 'node')} connected within {settings.wait_seconds:g} s, and "
            f"training.min-nodes = {settings.min_nodes}: start more SuperNodes, or set "
            "training.min-nodes lower"
        )
    return nodes


def _skipped_by(infos: Iterable[NodeInfo]) -> int:
    """Number of skipped utterances; nodes with parts of one corpus all report those of the whole corpus."""
    by_corpus: dict[str, int] = {}
    for info in infos:
        by_corpus[info.dataset] = max(info.skipped, by_corpus.get(info.dataset, 0))
    return sum(by_corpus.values())


def _dataset_of(digests: set[str]) -> str:
    """One digest for the data of all nodes; it does not depend on which node holds which part."""
    if len(digests) == 1:
        return digests.pop()
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _without_repeats(faults: list[str]) -> str:
    """The first fault and the number of the others: nodes of a simulation often have the same fault."""
    more = f" (and {len(faults) - 1} more nodes that cannot take part)" if len(faults) > 1 else ""
    return f"the run cannot start: {faults[0]}{more}"
