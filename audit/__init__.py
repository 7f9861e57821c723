"""Tests of the promise itself: what one person's speech can do to anything that a run does or shows.

Record and replay (Cebere et al. 2026, "Re:cord-play"): a run on one data set is recorded, primitive by
primitive; a run on a neighbouring data set, which differs in one person, is replayed with the same people
drawn and with the *noised outputs frozen* to those of the first. Then every difference that is left comes
from that person's speech and was not noised. Required are the same sequence of primitives, the same metadata,
and sums whose difference is within the declared sensitivity, in whole grid steps. It takes no statistics and
names the primitive.

This room stands above strategies and privacy; no other room imports it.
"""

from audit.declared import check_declared, check_fresh_noise
from audit.findings import Finding
from audit.neighbours import NEIGHBOURS, Adjacency, Neighbour
from audit.recorded_noise import ReplayDiverged
from audit.recorder import Recorder
from audit.replay import compare
from audit.trace import Query, Trace

__all__ = [
    "NEIGHBOURS",
    "Adjacency",
    "Finding",
    "Neighbour",
    "Query",
    "Recorder",
    "ReplayDiverged",
    "Trace",
    "check_declared",
    "check_fresh_noise",
    "compare",
]
