"""The population: the nodes, and the number of speakers on each.

The server knows speakers only by number: 0 to N - 1 over all nodes, in the order of their node ids. Its
memory grows with the number of nodes, not of speakers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class PopulationIndex:
    """The nodes of a run, their numbers of speakers and the data that these are from; fixed for the run.

    Example:
        >>> nodes = PopulationIndex.of({7: 3, 5: 2})
        >>> nodes.population, nodes.locate(np.array([0, 2, 4]))
        (5, {5: [0], 7: [0, 2]})
    """

    nodes: tuple[int, ...]
    counts: tuple[int, ...]
    datasets: tuple[str, ...]
    portions: tuple[str, ...]

    def __post_init__(self) -> None:
        columns = (set(self.nodes), self.nodes, self.counts, self.datasets, self.portions)
        if len(set(map(len, columns))) != 1:
            raise ValueError(f"nodes {self.nodes}, counts {self.counts}, {self.datasets} do not pair up")
        for node, count in zip(self.nodes, self.counts, strict=True):
            if count < 1:
                raise ValueError(f"node {node} holds {count} speakers: leave it out of the population")

    @classmethod
    def of(
        cls,
        counts: Mapping[int, int],
        datasets: Mapping[int, str] | None = None,
        portions: Mapping[int, str] | None = None,
    ) -> PopulationIndex:
        """Make it from the number of speakers of each node id, and what is known of their data.

        Args:
            counts: Node id -> number of speakers.
            datasets: Node id -> digest of its data set.
            portions: Node id -> the part of the data set that it holds (`wire.node_info.NodeInfo.portion`).
        """
        nodes = tuple(sorted(counts))
        return cls(
            nodes=nodes,
            counts=tuple(counts[node] for node in nodes),
            datasets=tuple((datasets or {}).get(node, "") for node in nodes),
            portions=tuple((portions or {}).get(node, "") for node in nodes),
        )

    def dataset(self, node: int) -> str:
        """The digest of the data that `node` held at registration; empty if unknown."""
        return self._datasets[node]

    def portion(self, node: int) -> str:
        """The part of that data that `node` held at registration; empty if unknown."""
        return self._portions[node]

    @cached_property
    def _portions(self) -> dict[int, str]:
        return dict(zip(self.nodes, self.portions, strict=True))

    @cached_property
    def _datasets(self) -> dict[int, str]:
        return dict(zip(self.nodes, self.datasets, strict=True))

    @property
    def population(self) -> int:
        """N, the number of speakers over all nodes."""
        return sum(self.counts)

    def locate(self, drawn: npt.NDArray[np.int64]) -> dict[int, list[int]]:
        """Map each node with a drawn speaker to its own numbers (from 0) of its drawn speakers.

        Args:
            drawn: Numbers of speakers over all nodes, ascending.
        """
        ends = np.cumsum(self.counts)
        owners = np.searchsorted(ends, drawn, side="right")
        own = drawn - (ends - np.asarray(self.counts))[owners]
        contacted, begins = np.unique(owners, return_index=True)
        parts = np.split(own, begins[1:])  # an empty cohort has one empty part
        return {self.nodes[owner]: part.tolist() for owner, part in zip(contacted, parts, strict=False)}
