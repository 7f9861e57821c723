"""Flower strategies that turn clipped updates into a model under one privacy plan.

`DPFedAdam` and its siblings are `DPFedOpt` with one server optimiser each. A strategy is made of a
`GlobalModel`, a `Mechanism`, a `ServerStep` and a `TrainingRun`. None of them knows anything about speech.
"""

from optim import Adam, ServerOptimiser
from optim.flat_model import bind, bind_gradients
from strategies.dp_fed_opt import DPFedOpt
from strategies.loop import run_rounds
from strategies.mechanism import Mechanism
from strategies.named import (
    DPFedAdaGrad,
    DPFedAdam,
    DPFedAvgM,
    DPFedLAMB,
    DPFedLARS,
    DPFedYogi,
    strategy_class,
)
from strategies.parts import GlobalModel, ServerStep, TrainingRun
from strategies.population import PopulationIndex
from strategies.registration import NotRegistered, register_population
from strategies.round import RoundReport
from strategies.scaffold import Scaffold
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
    "GlobalModel",
    "Mechanism",
    "NotRegistered",
    "PopulationIndex",
    "RoundReport",
    "Scaffold",
    "ServerOptimiser",
    "ServerStep",
    "StreamingGrid",
    "TrainingRun",
    "bind",
    "bind_gradients",
    "register_population",
    "run_rounds",
    "strategy_class",
]
