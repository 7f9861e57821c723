"""Central training on one corpus: how the seed model is made that a federation starts from.

Deterministic: the same corpus, configuration, number of processes, machine and software give the same
model, also when the training was interrupted any number of times and resumed.
"""

from speech.pretraining.config import PretrainConfig
from speech.pretraining.session import Epoch, Pretrained, Snapshots, pretrain
from speech.pretraining.trainer import Step

__all__ = ["Epoch", "PretrainConfig", "Pretrained", "Snapshots", "Step", "pretrain"]
