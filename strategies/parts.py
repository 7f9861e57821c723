"""The parts of a strategy beside its mechanism: the model, the server step and the run."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from optim import ServerOptimiser
from optim.flat_model import bind
from optim.schedules import Schedule, constant
from optim.trainable import frozen_digest
from privacy import LayerLayout, Ledger, Release
from strategies.hosting import Addressing, OneEach
from strategies.population import PopulationIndex


@dataclass(frozen=True, kw_only=True, eq=False)
class GlobalModel:
    """The model that a run trains, as one vector.

    Args:
        vector: (d,) float32. The strategy owns it and changes it in place.
        layout: Names and shapes of the d coordinates.
        frozen: Digest of the parameters outside `vector`, which the nodes must hold too; "" without any.

    Raises:
        ValueError: If the vector does not have the layout's size.

    Example:
        >>> GlobalModel.of(nn.Linear(3, 2)).vector.shape
        torch.Size([8])
    """

    vector: Tensor
    layout: LayerLayout
    frozen: str = ""

    def __post_init__(self) -> None:
        if self.vector.shape != (self.layout.size,):
            raise ValueError(
                f"the vector has the shape {tuple(self.vector.shape)}, the layout {self.layout.size} "
                "coordinates: they do not fit together"
            )

    @classmethod
    def of(cls, module: nn.Module) -> GlobalModel:
        """The trained parameters of `module`, which from now on are views of the vector.

        Raises:
            ValueError: For a module that cannot be one float32 vector (`optim.flat_model.bind`).
        """
        layout, vector = bind(module)
        return cls(vector=vector, layout=layout, frozen=frozen_digest(module))


@dataclass(frozen=True, kw_only=True, eq=False)
class ServerStep:
    """How the server moves the model by a noised mean; all of it is post-processing.

    Args:
        optimiser: The server optimiser.
        learning_rate: The base rate.
        schedule: The factor on the base rate, by round.

    Example:
        >>> from optim import SGD
        >>> ServerStep(optimiser=SGD(), learning_rate=0.5).rate(round_number=3, rounds=10)
        0.5
    """

    optimiser: ServerOptimiser
    learning_rate: float
    schedule: Schedule = constant

    def rate(self, round_number: int, rounds: int) -> float:
        """The learning rate of a round (1, 2, ...) of a run with `rounds` rounds."""
        return self.learning_rate * self.schedule(round_number, rounds)


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """Which population a run trains on, and where its releases are recorded.

    Args:
        population_index: The nodes and their numbers of speakers.
        ledger: The open ledger.
        dataset: The ledger's name for the population.
        run_id: The ledger's name for this run.
        spent_elsewhere: Releases of the runs that made the seed model, recorded in other ledgers. A budget
            counts them too.
        addressing: Whether each node is a SuperNode, or has a host.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, Ledger.open(f"{folder}/ledger.jsonl") as ledger:
        ...     nodes = PopulationIndex.of({1: 20, 2: 30})
        ...     run = TrainingRun(population_index=nodes, ledger=ledger, dataset="ward", run_id="first")
        >>> run.population_index.population
        50
    """

    population_index: PopulationIndex
    ledger: Ledger
    dataset: str
    run_id: str
    spent_elsewhere: tuple[Release, ...] = ()
    addressing: Addressing = field(default_factory=OneEach)
