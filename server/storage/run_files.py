"""The models and checkpoints that a run writes before its first round, after its rounds and at its end.

Guarantee: a model is written after the checkpoint of its round, and both after the ledger entry of the round.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from privacy import Lineage
from privacy.ledger.lineage import lineage_to_json
from server.averaging import ModelAverage
from server.storage.ancestry import LINEAGE, ancestor
from server.storage.checkpoint_interval import rounds_between
from server.storage.checkpoints import Checkpoint, Identity, save_checkpoint
from server.storage.ledgers import Account
from server.storage.run_folder import RunFolder
from speech.model.checkpoint import save_model
from speech.model.recogniser import Recogniser
from strategies import DPFedOpt
from strategies.state import state_of


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """Writes the models and checkpoints of a run.

    Attributes:
        folder: The run folder.
        identity: What the checkpoints belong to.
        account: The releases of the run.
        strategy: The strategy, whose state the checkpoints hold.
        model: The model, bound to the strategy's vector.
        average: The average of the models, which the checkpoints hold too, and which is the saved model.
        synthetic: Whether all speakers are synthetic.
    """

    folder: RunFolder
    identity: Identity
    account: Account
    strategy: DPFedOpt
    model: Recogniser
    average: ModelAverage
    synthetic: bool

    def save_seed(self) -> None:
        """Write the seed model, and a checkpoint from before the first round."""
        self._save_model(self.folder.seed, self.account.lineage)
        self._save_checkpoint(0)

    def save_round(self, round_number: int) -> None:
        """Write the checkpoint and the model after a round."""
        self._save_checkpoint(round_number)
        account, plan = self.account, self.strategy.plan
        this_run = ancestor(account.run, account.population_name, plan, account.own, synthetic=self.synthetic)
        self._save_model(self.folder.model, (*account.lineage, this_run))

    def rounds_between(self, chosen: int, rounds: int) -> int:
        """Return the number of rounds from one checkpoint to the next.

        Args:
            chosen: The value of `run.checkpoint-every`.
            rounds: Rounds of the whole run.
        """
        model = sum(value.nbytes for value in self.model.parameters())
        written = model + sum(value.nbytes for value in self._state().values())
        return rounds_between(chosen, written, rounds)

    def _state(self) -> dict[str, Tensor]:
        return state_of(self.strategy) | self.average.state_dict()

    def _save_checkpoint(self, round_number: int) -> None:
        checkpoint = Checkpoint(
            round_number=round_number,
            identity=self.identity,
            ledger_head=self.strategy.ledger.head,
            tensors=self._state(),
            privacy=self.strategy.plan.stamp,
            run=self.account.run,
            lineage=self.account.lineage,
        )
        save_checkpoint(self.folder.checkpoint(round_number), checkpoint)
        self.folder.drop_old_checkpoints()

    def _save_model(self, path: Path, lineage: Lineage) -> None:
        extra = {
            "layout": self.strategy.layout.digest,
            "privacy": self.strategy.plan.stamp,
            "run": self.account.run,
            LINEAGE: lineage_to_json(lineage),
        }
        with self.average.in_place():
            save_model(path, self.model, self.identity.preset, extra)
