"""How updates become a model: Flower strategies under one privacy plan, and server optimisers."""

from strategies.dp_fed_opt import DPFedOpt
from strategies.named import DPFedAdaGrad, DPFedAdam, DPFedAvgM, DPFedLAMB, DPFedLARS, DPFedYogi
from strategies.open_round import RoundReport
from strategies.optimisers import Adam, ServerOptimiser
from strategies.roster import Roster
from strategies.rounds import run_rounds
from strategies.streaming import StreamingGrid
from strategies.vector import bind, bind_gradients

__all__ = [
    "Adam",
    "DPFedAdaGrad",
    "DPFedAdam",
    "DPFedAvgM",
    "DPFedLAMB",
    "DPFedLARS",
    "DPFedOpt",
    "DPFedYogi",
    "Roster",
    "RoundReport",
    "ServerOptimiser",
    "StreamingGrid",
    "bind",
    "bind_gradients",
    "run_rounds",
]
