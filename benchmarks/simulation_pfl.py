"""pfl 0.6 on the same speakers, in pfl's own environment, under torchrun: run by `simulation`.

pfl's federated averaging, Gaussian mechanism and local SGD; batches, model and loss are ours.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import torch

torch.set_num_threads(1)

from pfl.internal.ops import pytorch_ops  # noqa: E402
from pfl.internal.ops.selector import set_framework_module  # noqa: E402

set_framework_module(pytorch_ops)

from pfl.aggregate.simulate import SimulatedBackend  # noqa: E402
from pfl.algorithm.base import NNAlgorithmParams  # noqa: E402
from pfl.algorithm.federated_averaging import FederatedAveraging  # noqa: E402
from pfl.callback.base import TrainingProcessCallback  # noqa: E402
from pfl.data.dataset import Dataset  # noqa: E402
from pfl.data.federated_dataset import FederatedDataset  # noqa: E402
from pfl.data.sampling import get_user_sampler  # noqa: E402
from pfl.hyperparam.base import NNTrainHyperParams  # noqa: E402
from pfl.metrics import Metrics  # noqa: E402
from pfl.model.pytorch import PyTorchModel  # noqa: E402
from pfl.privacy.gaussian_mechanism import GaussianMechanism  # noqa: E402
from pfl.privacy.privacy_mechanism import CentrallyAppliedPrivacyMechanism  # noqa: E402

from base.registries import MODEL_PRESETS  # noqa: E402
from benchmarks.simulation_speakers import COHORT, PRESET, RoundLog, config, first_vector, speakers  # noqa: E402
from speech.data.batching import Batch, bucketed_batches, collate  # noqa: E402
from speech.data.examples import Example  # noqa: E402
from speech.features.spec_augment import make_augment  # noqa: E402
from speech.model.ctc_transformer import build_model  # noqa: E402
from strategies import bind  # noqa: E402

LOCAL = config().local


class Speaker(Dataset):
    """One user: our batches of like length, with SpecAugment."""

    augment = make_augment(MODEL_PRESETS[PRESET].augment, LOCAL)

    def __init__(self, examples: list[Example]) -> None:
        super().__init__(raw_data=([example.features for example in examples],))
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def iter(self, batch_size: int | None) -> Iterator[list[torch.Tensor]]:
        """The fields of one batch after the other."""
        generator = torch.Generator().manual_seed(0)
        lengths = [len(example.features) for example in self._examples]
        for chosen in bucketed_batches(lengths, batch_size or len(lengths), generator):
            batch = collate([self._examples[index] for index in chosen])
            hidden = self.augment(batch.features, batch.lengths, generator)
            yield [hidden, batch.lengths, batch.tokens, batch.token_lengths, batch.shortest]


class Marks(TrainingProcessCallback):
    """Writes the end of each round."""

    def __init__(self, log: RoundLog) -> None:
        self._log = log

    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: object, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        """See pfl's callbacks."""
        self._log.end(central_iteration + 1)
        return False, Metrics()


def loss(model: torch.nn.Module, fields: list[torch.Tensor]) -> torch.Tensor:
    """Our CTC loss of a batch in its five fields."""
    features, lengths, tokens, token_lengths, shortest = fields
    return model.objective(
        Batch(
            features=features,
            lengths=lengths,
            tokens=tokens,
            token_lengths=token_lengths,
            shortest=shortest,
        ),
    )


def main(log_path: str, rounds: int) -> None:
    """All rounds; only the first process writes."""
    module = build_model(PRESET, seed=0)
    bind(module)[1].copy_(first_vector())
    module.loss = lambda *fields, **_: loss(module, list(fields))
    module.metrics = lambda *fields, **_: {}
    model = PyTorchModel(
        module.train(),
        local_optimizer_create=torch.optim.SGD,
        central_optimizer=torch.optim.Adam(module.parameters(), lr=0.006, betas=(0.9, 0.99), eps=1e-6),
    )
    data = FederatedDataset(
        lambda user: Speaker(speakers()[user]), get_user_sampler("random", list(range(len(speakers()))))
    )
    private = CentrallyAppliedPrivacyMechanism(GaussianMechanism(0.2, 0.03))
    first = pytorch_ops.distributed is None or pytorch_ops.distributed.global_rank == 0
    FederatedAveraging().run(
        NNAlgorithmParams(
            central_num_iterations=rounds,
            evaluation_frequency=rounds + 1,
            train_cohort_size=COHORT,
            val_cohort_size=0,
        ),
        SimulatedBackend(training_data=data, val_data=data, postprocessors=[private]),
        model,
        NNTrainHyperParams(
            local_num_epochs=1,
            local_learning_rate=LOCAL.learning_rate,
            local_batch_size=LOCAL.batch_size,
            local_max_grad_norm=LOCAL.gradient_clip,
        ),
        callbacks=[Marks(RoundLog(log_path))] if first else [],
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
