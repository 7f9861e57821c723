"""Local algorithms: how a speaker's training differs from plain gradient descent.

A recipe names one (`local.algorithm`); `base.registries.LOCAL_ALGORITHMS` has the names. This module imports
no torch, so a recipe is checked without it.

Guarantee: an algorithm object serves one speaker in one round, then it is dropped. A node keeps and sends
something beside the clipped update only through an `Exchange`. It makes one only for an algorithm that
declares this (`LocalAlgorithm.beside_the_update`), and a private run refuses every such algorithm, and one
without a declaration (`recipes.run_config`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from base.registries import LOCAL_ALGORITHMS

if TYPE_CHECKING:
    from flwr.app import ArrayRecord, RecordDict
    from torch import Tensor

    from client.training.process import SpeakerProcess
    from client.training.process_messages import Trained
    from client.training.speaker_round import SpeakerRound
    from recipes.sections import LocalSection

NOTHING = ""
BLOCK = 1 << 20  # coordinates at a time: scratch memory for a block, never for a whole model


class Exchange(Protocol):
    """What an algorithm keeps on the node and sends beside the sum. One object serves one task."""

    def train(self, speaker_round: SpeakerRound, split: str) -> tuple[Tensor, Trained] | None:
        """Train one speaker, as `SpeakerProcess.train` does."""

    def to_records(self) -> dict[str, ArrayRecord]:
        """What goes into the reply beside the sum, by the name of the record."""


class LocalAlgorithm:
    """What all local algorithms share: a step may change its gradients before and after the norm's bound.

    Args:
        settings: The run's `local` section.
    """

    beside_the_update: ClassVar[str]
    """What a node keeps between rounds, or sends, beside the clipped update, in words; `NOTHING` for nothing.

    Every algorithm declares it. Where there is something, the algorithm has an `exchange`.
    """

    def __init__(self, settings: LocalSection) -> None:
        self.settings = settings

    def before_clip_(self, gradients: Tensor, weights: Tensor, start: Tensor) -> None:
        """Change `gradients` (d,) in place, before their norm is bounded.

        Args:
            gradients: The gradients of the step's loss at `weights`.
            weights: The speaker's model at this step (d,).
            start: The round's model (d,), from which the speaker began.
        """

    def after_clip_(self, gradients: Tensor, correction: Tensor | None) -> None:
        """Change `gradients` (d,) in place, after their norm was bounded.

        Args:
            gradients: What the optimiser takes next.
            correction: What the algorithm's `Exchange` gives to `SpeakerProcess.train` (d,), if anything.
        """

    def exchange(
        self,
        process: SpeakerProcess,
        content: RecordDict,
        state: RecordDict,
        speakers: Sequence[str],
        departed: Iterable[int],
    ) -> Exchange:
        """The algorithm's side on the node, for one task.

        Args:
            process: Trains the speakers.
            content: The task's message.
            state: Flower's state of the node in this run, which stays on the node.
            speakers: The speakers by their numbers at registration.
            departed: The numbers of those who have left: nothing of theirs may stay.
        """
        raise NotImplementedError(f"{type(self).__name__} declares {self.beside_the_update!r}: it needs one")


class PlainSGD(LocalAlgorithm):
    """FedAvg (McMahan et al. 2017): the local optimiser's steps as they are."""

    beside_the_update = NOTHING


class FedProx(LocalAlgorithm):
    """FedProx (Li et al. 2020) adds mu/2 |w - w0|^2 to the loss, where w0 is the round's model."""

    beside_the_update = NOTHING

    def before_clip_(self, gradients: Tensor, weights: Tensor, start: Tensor) -> None:
        """Add the gradient mu (w - w0) of that term."""
        vectors = (gradients, weights, start)
        blocks = (one.split(BLOCK) for one in vectors)  # type: ignore[no-untyped-call]
        for gradient, now, before in zip(*blocks, strict=True):
            gradient.add_(now - before, alpha=self.settings.proximal_mu)


class Scaffold(LocalAlgorithm):
    """SCAFFOLD (Karimireddy et al. 2020): control variates correct the drift of local steps."""

    beside_the_update = (
        "a control variate of every speaker, which the node keeps between rounds and whose changes it sends"
    )

    def after_clip_(self, gradients: Tensor, correction: Tensor | None) -> None:
        """Add c - c_i, the server's control variate less the speaker's own."""
        if correction is not None:  # None while a process warms up
            gradients.add_(correction)

    def exchange(
        self,
        process: SpeakerProcess,
        content: RecordDict,
        state: RecordDict,
        speakers: Sequence[str],
        departed: Iterable[int],
    ) -> Exchange:
        """The control variates of this node's speakers.

        Raises:
            KeyError: If the message has no control variate of the server's.
        """
        from client.training.control_variates import ControlVariates, ScaffoldExchange  # brings torch

        variates = ControlVariates.of(content, state)
        for number in departed:
            variates.forget(number)
        return ScaffoldExchange(process, variates, speakers, self.settings.learning_rate)


def local_algorithm(settings: LocalSection) -> LocalAlgorithm:
    """The algorithm that `settings` name, for one speaker in one round."""
    made: LocalAlgorithm = LOCAL_ALGORITHMS[settings.algorithm](settings)
    return made
