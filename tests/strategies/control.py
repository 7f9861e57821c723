"""One round of Flower's own DP wrapper beside one of ours: the negative control of the tests of defects.

Flower's nodes answer with a whole model, ours with a sum of clipped updates. Both go through the same
stand-in for the network, and both are asked what one round moves the model by.
"""

import math
from collections.abc import Mapping

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg
from scipy import stats

from tests.strategies.federation import BOUNDS, make_strategy
from tests.strategies.flower import FakeGrid

QUIET = 1e-4  # the least noise multiplier that a plan accepts: what moves by more was not the noise


def arrays(values: Mapping[str, np.ndarray]) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(value)) for name, value in values.items()})


def theirs(values: Mapping[str, np.ndarray], weight=1.0, **metrics):
    """A node of Flower's: its model after training, the weight it claims, and its metrics."""

    def node(message):
        record = MetricRecord({"num-examples": weight, **metrics})
        return RecordDict({"arrays": arrays(values), "metrics": record})

    return node


def fed_avg(count: int, kind=FedAvg, **settings):
    return kind(min_train_nodes=count, min_available_nodes=count, fraction_evaluate=0.0, **settings)


def wrapped(count: int, *, z=0.0, clip=1.0, inner=None, **settings):
    """Flower's server-side fixed clipping around FedAvg, for so many clients a round."""
    inner = inner or fed_avg(count)
    return DifferentialPrivacyServerSideFixedClipping(inner, z, clip, count, **settings)


def flower_round(strategy, start, nodes, number=1):
    """(what the model moved by, metrics), or (None, None) if Flower gave the round up."""
    grid = FakeGrid(dict(enumerate(nodes, start=1)))
    messages = strategy.configure_train(number, arrays(start), ConfigRecord(), grid)
    record, metrics = strategy.aggregate_train(number, grid.send_and_receive(messages))
    if record is None:
        return None, metrics
    return {name: record[name].numpy() - value for name, value in start.items()}, metrics


def flower_moves(nodes, *, start=None, **settings):
    """The movement of a model of one array "w", in a fresh wrapper."""
    start = start or {"w": np.zeros(2)}
    moved, _ = flower_round(wrapped(len(nodes), **settings), start, nodes)
    return moved["w"]


def flower_cohort(*, fraction: float, population: int) -> list[int]:
    """The nodes that Flower's wrapper asks in one round, in its order."""
    inner = FedAvg(fraction_train=fraction, min_train_nodes=1, min_available_nodes=1)
    strategy = wrapped(int(fraction * population), inner=inner)
    grid = FakeGrid(dict.fromkeys(range(population)))
    messages = strategy.configure_train(1, arrays({"w": np.zeros(2)}), ConfigRecord(), grid)
    return [message.metadata.dst_node_id for message in messages]


def our_release(strategy, nodes, number=1):
    """The released mean (d,) of a round of ours, through the optimiser `PlainStep`."""
    strategy.vector.zero_()
    grid = FakeGrid(nodes)
    messages = strategy.configure_train(number, strategy.arrays(), ConfigRecord(), grid)
    strategy.aggregate_train(number, iter(grid.send_and_receive(messages)))
    return -strategy.vector.double()


def our_moves(folder, *nodes, z=QUIET):
    """The release of a fresh federation with one speaker on each node."""
    strategy = make_strategy(folder, dict.fromkeys(range(1, len(nodes) + 1), 1), z=z)
    released = our_release(strategy, dict(enumerate(nodes, start=1)))
    strategy.ledger.close()
    (folder / "ledger.jsonl").unlink()
    return released


def reach(nodes: int) -> float:
    """The most by which one speaker may move our mean of so many: C / S, and six sigma of the noise."""
    return BOUNDS.total / nodes * (1 + 6 * QUIET * math.sqrt(BOUNDS.size))


def gaussian_delta(epsilon: float, mu: float) -> float:
    """The exact delta of one Gaussian release of sensitivity / noise = mu (Balle and Wang 2018)."""
    upper = stats.norm.cdf(mu / 2 - epsilon / mu)
    return float(upper - math.exp(epsilon) * stats.norm.cdf(-mu / 2 - epsilon / mu))


def std_holds(sample: np.ndarray, std: float, false_alarm: float = 1e-6) -> bool:
    """Whether a zero-mean normal sample may have this standard deviation (chi-square)."""
    scaled = np.asarray(sample).ravel() / std
    low, high = stats.chi2.interval(1 - false_alarm, df=scaled.size)
    return bool(low < float(scaled @ scaled) < high)
