"""`DPFedAdam` and its siblings: `DPFedOpt` with one or another server optimiser, under a name.

What they promise is what `DPFedOpt` promises: the optimiser sees nothing but the noised mean.
"""

from __future__ import annotations

from typing import Any, ClassVar

from optim import make_optimiser, settings_of
from privacy import LayerLayout
from strategies.dp_fed_opt import DPFedOpt


class NamedDPFedOpt(DPFedOpt):
    """`DPFedOpt` that makes its optimiser itself.

    Takes the settings of `optimiser_name` (`beta1=0.9`, ...) beside those of `DPFedOpt`.
    """

    optimiser_name: ClassVar[str]

    def __init__(self, *, layout: LayerLayout, **settings: Any) -> None:
        own = {name: settings.pop(name) for name in settings_of(self.optimiser_name) if name in settings}
        optimiser = make_optimiser(self.optimiser_name, layout, **own)
        super().__init__(layout=layout, optimiser=optimiser, **settings)


class DPFedAdam(NamedDPFedOpt):
    """Adam on the server."""

    optimiser_name = "adam"


class DPFedLAMB(NamedDPFedOpt):
    """LAMB on the server: the paper's choice."""

    optimiser_name = "lamb"


class DPFedLARS(NamedDPFedOpt):
    """LARS on the server."""

    optimiser_name = "lars"


class DPFedYogi(NamedDPFedOpt):
    """Yogi on the server."""

    optimiser_name = "yogi"


class DPFedAdaGrad(NamedDPFedOpt):
    """AdaGrad on the server."""

    optimiser_name = "adagrad"


class DPFedAvgM(NamedDPFedOpt):
    """SGD with momentum on the server; with momentum 0 and learning rate 1, federated averaging."""

    optimiser_name = "sgd"
