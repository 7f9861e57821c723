"""pfl's clip and sum of one user's statistics: run by `aggregation` in pfl's own environment."""

import json
import sys
import time

import torch

torch.set_num_threads(1)
torch.manual_seed(0)

from pfl.internal.ops import pytorch_ops  # noqa: E402
from pfl.internal.ops.selector import set_framework_module  # noqa: E402

set_framework_module(pytorch_ops)

from pfl.aggregate.base import SumAggregator  # noqa: E402
from pfl.context import UserContext  # noqa: E402
from pfl.privacy.gaussian_mechanism import GaussianMechanism  # noqa: E402
from pfl.privacy.privacy_mechanism import CentrallyAppliedPrivacyMechanism  # noqa: E402
from pfl.stats import MappedVectorStatistics  # noqa: E402


def statistics(layers: int, *shape: int) -> MappedVectorStatistics:
    """One user's update, layer by layer."""
    return MappedVectorStatistics({f"layer{index}": torch.randn(shape) for index in range(layers)}, weight=1)


def main(layers: int, *shape: int) -> None:
    """Print the best of seven runs of pfl's round and of a plain add, in turns."""
    mechanism = CentrallyAppliedPrivacyMechanism(GaussianMechanism(1.0, 1.0))
    user, total = statistics(layers, *shape), statistics(layers, *shape)
    context, aggregator = UserContext(num_datapoints=1, seed=0), SumAggregator()
    size = layers * shape[0] * shape[1]
    one, other = torch.zeros(size), torch.randn(size)

    def pfl() -> None:
        clipped, _ = mechanism.postprocess_one_user(stats=user, user_context=context)
        aggregator.accumulate(accumulated=total, user_stats=clipped)

    best = {"pfl": float("inf"), "plain": float("inf")}
    for repeat in range(8):
        for name, work in (("pfl", pfl), ("plain", lambda: one.add_(other))):
            began = time.perf_counter()
            work()
            seconds = time.perf_counter() - began
            best[name] = min(best[name], seconds) if repeat else float("inf")
    print(json.dumps(best))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
