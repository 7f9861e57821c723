"""Central training on one corpus: it makes the seed model of a federation, from nothing or from a model.

Guarantee: the same corpus, configuration, number of processes, machine and software give the same model, also
when the training was interrupted and resumed any number of times.
"""

from speech.pretraining.config import PretrainConfig
from speech.pretraining.progress import Epoch, Step
from speech.pretraining.session import Pretrained, pretrain
from speech.pretraining.snapshot import Snapshots
from speech.pretraining.start import Start

__all__ = ["Epoch", "PretrainConfig", "Pretrained", "Snapshots", "Start", "Step", "pretrain"]
