"""Tests of the guarantee itself: what one person's speech can change in all that a run does or shows.

Record and replay (Cebere et al. 2026, "Re:cord-play"). A run on one data set is recorded, primitive by
primitive. A run on a neighbouring data set, which differs in one person, is replayed with the same cohorts
and with the *noised outputs frozen* to those of the first run. Then every remaining difference comes from
that person's speech, without noise. The check requires the same sequence of primitives, the same metadata,
and sums whose difference is within the declared sensitivity, in whole quantisation steps. It needs no
statistics, and it names the primitive.

This room is above strategies and privacy; no other room imports it.
"""

from audit.declared import check_declared, check_fresh_noise
from audit.neighbours import NEIGHBOURS, Adjacency, Neighbour
from audit.recorded_noise import ReplayDiverged
from audit.recorder import Recorder
from audit.replay import compare
from audit.trace import Query, Trace
from audit.violations import Violation

__all__ = [
    "NEIGHBOURS",
    "Adjacency",
    "Neighbour",
    "Query",
    "Recorder",
    "ReplayDiverged",
    "Trace",
    "Violation",
    "check_declared",
    "check_fresh_noise",
    "compare",
]
