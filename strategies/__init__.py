"""How updates become a model: Flower strategies under one privacy plan, and server optimisers."""

from optim import Adam, ServerOptimiser
from optim.flat_model import bind, bind_gradients
from strategies.dp_fed_opt import DPFedOpt
from strategies.loop import run_rounds
from strategies.named import DPFedAdaGrad, DPFedAdam, DPFedAvgM, DPFedLAMB, DPFedLARS, DPFedYogi
from strategies.population import PopulationIndex
from strategies.round import RoundReport
from strategies.streaming import StreamingGrid

__all__ = [
    "Adam",
    "DPFedAdaGrad",
    "DPFedAdam",
    "DPFedAvgM",
    "DPFedLAMB",
    "DPFedLARS",
    "DPFedOpt",
    "DPFedYogi",
    "PopulationIndex",
    "RoundReport",
    "ServerOptimiser",
    "StreamingGrid",
    "bind",
    "bind_gradients",
    "run_rounds",
]
