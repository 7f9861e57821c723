"""Server optimisers on the flat vector. They run after the noise: post-processing, which costs no privacy.

The pseudo-gradient is the mean of "old minus new" over the cohort (paper, Algorithm 1), so a step goes
against it, as against any gradient. Every optimiser works in place, on buffers that it owns.
"""

from optim.adaptive import AdaGrad, Adam, Yogi
from optim.base import FlatOptimiser, ServerOptimiser, make_optimiser, settings_of
from optim.layerwise import LAMB, LARS
from optim.momentum import SGD

__all__ = [
    "LAMB",
    "LARS",
    "SGD",
    "AdaGrad",
    "Adam",
    "FlatOptimiser",
    "ServerOptimiser",
    "Yogi",
    "make_optimiser",
    "settings_of",
]
