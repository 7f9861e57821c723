"""`DPFedAdam` and its siblings: `DPFedOpt` with one server optimiser each, named after it.

Each gives the guarantee of `DPFedOpt`: the optimiser receives nothing but the noised mean.
"""

from __future__ import annotations

from typing import Any, ClassVar

from base.registries import SERVER_OPTIMISERS
from optim import make_optimiser
from optim.schedules import Schedule, constant
from strategies.dp_fed_opt import DPFedOpt
from strategies.mechanism import Mechanism
from strategies.parts import GlobalModel, ServerStep, TrainingRun


class NamedDPFedOpt(DPFedOpt):
    """`DPFedOpt` with the optimiser `optimiser_name`.

    Args:
        model: The model, which the strategy changes in place.
        mechanism: Plan, clip bounds and noise.
        run: The population and the ledger.
        server_step: The server step, if it exists already; its optimiser must be this class's. Otherwise the
            strategy makes the step from the next two arguments and the optimiser's settings.
        learning_rate: The base rate.
        schedule: The factor on the base rate, by round.
        **settings: Settings of the optimiser (`beta1=0.9`, ...), and the optional arguments of `DPFedOpt`.

    Raises:
        ValueError: For another class's optimiser, an unknown setting, or both a step and a learning rate.
    """

    optimiser_name: ClassVar[str]

    def __init__(
        self,
        *,
        model: GlobalModel,
        mechanism: Mechanism,
        run: TrainingRun,
        server_step: ServerStep | None = None,
        learning_rate: float | None = None,
        schedule: Schedule = constant,
        **settings: Any,
    ) -> None:
        options = {name: settings.pop(name) for name in OPTIONS if name in settings}
        if server_step is None and learning_rate is not None:
            optimiser = make_optimiser(self.optimiser_name, model.layout, **settings)
            server_step = ServerStep(optimiser=optimiser, learning_rate=learning_rate, schedule=schedule)
        elif server_step is None or learning_rate is not None or settings:
            raise ValueError(
                f"{type(self).__name__}: give it a learning_rate with the optimiser's settings, or else a "
                "server_step alone"
            )
        self._require_own(server_step)
        super().__init__(model=model, mechanism=mechanism, server_step=server_step, run=run, **options)

    def _require_own(self, server_step: ServerStep) -> None:
        if not isinstance(server_step.optimiser, SERVER_OPTIMISERS[self.optimiser_name]):
            raise ValueError(
                f"{type(self).__name__} steps by {self.optimiser_name!r}, got an optimiser of the class "
                f"{type(server_step.optimiser).__name__}: use DPFedOpt with it"
            )


OPTIONS = ("round_deadline_seconds", "on_raw_metrics", "declared")  # of `DPFedOpt`


class DPFedAdam(NamedDPFedOpt):
    """`DPFedOpt` with Adam on the server.

    Example:
        >>> from tempfile import mkdtemp
        >>> from torch import nn
        >>> from privacy import Ledger, PrivacyPlan
        >>> from strategies import PopulationIndex
        >>> model, nodes = GlobalModel.of(nn.Linear(3, 2)), PopulationIndex.of({1: 40, 2: 60})
        >>> plan = PrivacyPlan(population=100, cohort=20.0, rounds=5, noise_multiplier=1.0, delta=1e-3)
        >>> ledger = Ledger.open(f"{mkdtemp()}/ledger.jsonl")
        >>> strategy = DPFedAdam(
        ...     model=model,
        ...     mechanism=Mechanism.of(plan, model.layout, clip_bound=0.5),
        ...     run=TrainingRun(population_index=nodes, ledger=ledger, dataset="ward", run_id="first"),
        ...     learning_rate=0.01,
        ...     beta2=0.99,
        ... )
        >>> strategy.optimiser.beta2
        0.99
    """

    optimiser_name = "adam"


class DPFedLAMB(NamedDPFedOpt):
    """`DPFedOpt` with LAMB on the server, the paper's choice; used as `DPFedAdam`.

    Example:
        >>> DPFedLAMB.optimiser_name
        'lamb'
    """

    optimiser_name = "lamb"


class DPFedLARS(NamedDPFedOpt):
    """`DPFedOpt` with LARS on the server; used as `DPFedAdam`.

    Example:
        >>> DPFedLARS.optimiser_name
        'lars'
    """

    optimiser_name = "lars"


class DPFedYogi(NamedDPFedOpt):
    """`DPFedOpt` with Yogi on the server; used as `DPFedAdam`.

    Example:
        >>> DPFedYogi.optimiser_name
        'yogi'
    """

    optimiser_name = "yogi"


class DPFedAdaGrad(NamedDPFedOpt):
    """`DPFedOpt` with AdaGrad on the server; used as `DPFedAdam`.

    Example:
        >>> DPFedAdaGrad.optimiser_name
        'adagrad'
    """

    optimiser_name = "adagrad"


class DPFedAvgM(NamedDPFedOpt):
    """`DPFedOpt` with momentum SGD on the server; with momentum 0 and rate 1 it is federated averaging.

    Example:
        >>> DPFedAvgM.optimiser_name
        'sgd'
    """

    optimiser_name = "sgd"


def strategy_class(optimiser: str) -> type[DPFedOpt]:
    """The strategy of a registered server optimiser: `DPFedAdam` for "adam".

    An optimiser of another package has no class of its own; `DPFedOpt` takes any.

    Example:
        >>> strategy_class("adam").__name__, strategy_class("somebody's").__name__
        ('DPFedAdam', 'DPFedOpt')
    """
    return _BY_OPTIMISER.get(optimiser, DPFedOpt)


_BY_OPTIMISER: dict[str, type[DPFedOpt]] = {
    one.optimiser_name: one for one in (DPFedAdaGrad, DPFedAdam, DPFedAvgM, DPFedLAMB, DPFedLARS, DPFedYogi)
}
