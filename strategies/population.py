"""Who is in the population: nodes, and how many speakers each of them holds.

The server knows speakers only by number: 0 to N - 1 over all nodes, in the order of their node ids.
Its memory grows with the nodes, not with the speakers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class PopulationIndex:
    """The nodes of a run, their numbers of speakers and the digests of their speech, fixed for the run."""

    nodes: tuple[int, ...]
    counts: tuple[int, ...]
    datasets: tuple[str, ...]

    def __post_init__(self) -> None:
        if len({len(set(self.nodes)), len(self.nodes), len(self.counts), len(self.datasets)}) != 1:
            raise ValueError(f"nodes {self.nodes}, counts {self.counts}, {self.datasets} do not pair up")
        for node, count in zip(self.nodes, self.counts, strict=True):
            if count < 1:
                raise ValueError(f"node {node} holds {count} speakers: leave it out of the roster")

    @classmethod
    def of(cls, counts: Mapping[int, int], datasets: Mapping[int, str] | None = None) -> PopulationIndex:
        """From node id -> number of speakers, and -> the digest of its data set where that is known."""
        nodes = tuple(sorted(counts))
        return cls(
            nodes=nodes,
            counts=tuple(counts[node] for node in nodes),
            datasets=tuple((datasets or {}).get(node, "") for node in nodes),
        )

    def dataset(self, node: int) -> str:
        """The digest of what `node` held at the roll call; empty if that is not known."""
        return self._datasets[node]

    @cached_property
    def _datasets(self) -> dict[int, str]:
        return dict(zip(self.nodes, self.datasets, strict=True))

    @property
    def population(self) -> int:
        """N, the number of speakers over all nodes."""
        return sum(self.counts)

    def locate(self, drawn: npt.NDArray[np.int64]) -> dict[int, list[int]]:
        """Node id -> that node's own numbers (from 0) of the drawn speakers (ascending); nodes without one
        are left out."""
        ends = np.cumsum(self.counts)
        owners = np.searchsorted(ends, drawn, side="right")
        own = drawn - (ends - np.asarray(self.counts))[owners]
        contacted, begins = np.unique(owners, return_index=True)
        parts = np.split(own, begins[1:])  # one, empty, of an empty cohort
        return {self.nodes[owner]: part.tolist() for owner, part in zip(contacted, parts, strict=False)}
