"""What only the owner's report shows: cohorts, nodes, faults, traffic, and metrics without noise.

`traffic.jsonl` is secret (the gain from sampling rests on it), and no epsilon covers `not_private.jsonl`.
Only this module opens them, and nothing here is called for a public report.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from safetensors import SafetensorError, safe_open

from cli.report.run_facts import RunFacts
from cli.report.schemas import RoundTraffic, norm_lines, traffic_lines
from privacy import LayerLayout
from privacy.group_statistics import bounds_with_statistics
from privacy.noise.shape import relative_stds
from recipes import ConfigError
from server.storage.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """`traffic.jsonl`: the newest line of each round, and of each node in it."""

    rounds: tuple[RoundTraffic, ...]
    nodes: Mapping[int, tuple[int, int]]

    @classmethod
    def of(cls, folder: RunFolder) -> Traffic:
        """Read the file; without one there are no rounds. Raises `ConfigError` for a line without a field."""
        all_rounds, all_nodes = traffic_lines(folder.traffic)
        rounds = {line.round: line for line in all_rounds}
        by_node = {(line.round, line.node): line for line in all_nodes}
        totals: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for (_, node), one in by_node.items():
            down, up = totals[node]
            totals[node] = (down + one.bytes_down, up + one.bytes_up)
        return cls(
            rounds=tuple(rounds[number] for number in sorted(rounds)), nodes=dict(sorted(totals.items()))
        )

    @property
    def faults(self) -> list[tuple[int, str, int]]:
        """Node, reason and number of times that a node was left out of a round, most frequent first."""
        found = Counter((drop.node, drop.reason) for line in self.rounds for drop in line.dropped)
        return [(node, reason, times) for (node, reason), times in found.most_common()]

    def total(self, name: str) -> float:
        """The sum of a field over all rounds."""
        return math.fsum(getattr(line, name) for line in self.rounds)


@dataclass(frozen=True, kw_only=True)
class UpdateNorms:
    """Mean L2 norms of the speakers' updates before clipping, by round and tensor (paper, Figure 5).

    Attributes:
        tensors: Names of the H trained tensors, in the order of the vector.
        rounds: The R rounds.
        norms: R rows of H numbers; nodes are weighted by the speakers that they trained.
    """

    tensors: tuple[str, ...]
    rounds: tuple[int, ...]
    norms: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, folder: RunFolder) -> UpdateNorms | None:
        """Read not_private.jsonl; None if it has no norms of tensors. Raises as `Traffic.of`."""
        tensors, lines = norm_lines(folder.not_private)
        newest = {(line.round, line.node): (line.speakers, line.update_norms) for line in lines}
        by_round: dict[int, list[tuple[float, Sequence[float]]]] = defaultdict(list)
        for (round_number, _), one in newest.items():
            by_round[round_number].append(one)
        if not by_round:
            return None
        rounds = tuple(sorted(by_round))
        return cls(tensors=tensors, rounds=rounds, norms=tuple(_mean(by_round[one]) for one in rounds))

    @cached_property
    def mean(self) -> tuple[float, ...]:
        """The mean over the rounds, by tensor."""
        return tuple(np.mean(self.norms, axis=0).tolist())


def _mean(nodes: Sequence[tuple[float, Sequence[float]]]) -> tuple[float, ...]:
    weights, rows = zip(*nodes, strict=True)
    return tuple(np.average(rows, axis=0, weights=weights).tolist())


@dataclass(frozen=True, kw_only=True)
class TensorBounds:
    """By tensor: number of values, clip bound C_h, and norm of the noise on the mean update of one round.

    `noise` is None where the noise of one round says little: with bands, later rounds take a part of it back.
    """

    sizes: tuple[int, ...]
    bounds: tuple[float, ...]
    noise: tuple[float, ...] | None

    @classmethod
    def of(cls, facts: RunFacts, tensors: Sequence[str]) -> TensorBounds | None:
        """Of a run; None if the rule bounds other slices than tensors, or the model file lacks some of
        them."""
        shapes = _shapes(facts.folder, tensors)
        if shapes is None:
            return None
        section, layout = facts.config.privacy, LayerLayout.of(list(zip(tensors, shapes, strict=True)))
        try:
            found = bounds_with_statistics(
                section.clip_rule,
                section.clip_bound,
                layout,
                action=section.clip_action,
                exponent=section.clip_exponent,
                clip_groups=section.groups,
                by_group=section.group_statistics,
                adaptive=section.adaptive_clip,
            )
        except ValueError:  # names of an export, or clip groups of other tensors
            return None
        if found.model_slices != len(tensors):
            return None
        sizes = tuple(math.prod(shape) for shape in shapes)
        noise = None
        if facts.plan.is_private and facts.plan.bands == 1:
            relative = relative_stds(section.noise_shape, found)
            scale = facts.plan.sigma_dp * section.clip_bound
            noise = tuple(scale * std * math.sqrt(d) for std, d in zip(relative, sizes, strict=False))
        return cls(sizes=sizes, bounds=found.bounds[: len(tensors)], noise=noise)

    def signal_to_noise(self, norms: Sequence[float]) -> list[float] | None:
        """At most so large is a tensor's mean clipped update beside its noise: min(norm, C_h) / noise.

        The norm of a mean is at most the mean of the norms, so the true ratio is smaller where speakers
        disagree.
        """
        if self.noise is None:
            return None
        parts = zip(norms, self.bounds, self.noise, strict=True)
        return [min(norm, bound) / noise for norm, bound, noise in parts]


def _shapes(folder: RunFolder, tensors: Sequence[str]) -> list[tuple[int, ...]] | None:
    file = folder.model if folder.model.is_file() else folder.seed
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            if not set(opened.keys()).issuperset(tensors):
                return None
            return [tuple(opened.get_slice(name).get_shape()) for name in tensors]
    except SafetensorError as error:
        raise ConfigError(f"{file}: is no model file ({error}); restore it from a copy") from None
