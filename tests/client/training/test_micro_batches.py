"""Clipping of parts of a batch, in the local steps of a speaker."""

import pytest
import torch

from client.training.local_training import LocalTrainer
from recipes import ConfigError
from speech.data.batching import collate
from speech.data.examples import Example
from speech.model.ctc_transformer import build_model
from strategies import bind
from tests.client.training.test_local_training import TURN, settings

ONE_STEP = {"epochs": 0, "steps": 1, "batch_size": 7, "learning_rate": 0.1}
PARTS = {
    "pairs, the last alone": {"clip": "micro-batch", "micro_batch": 2},
    "utterances": {"clip": "micro-batch", "micro_batch": 1},
    "cores": {"clip": "per-core", "clip_cores": 3},
}


def update_of(start, examples, **changes):
    trainer = LocalTrainer(build_model("tiny"), settings(**{**ONE_STEP, **changes}))
    update, report = trainer.update(start, examples, TURN)
    return update.clone(), report


@pytest.fixture(scope="module")
def start():
    return bind(build_model("tiny", seed=0))[1]


@pytest.fixture(scope="module")
def with_one_too_short(examples):
    """Six utterances, and one without an alignment, which counts in no loss."""
    return [*examples[:6], Example.of("short", "much too much text", torch.randn(9, 40))]


@pytest.mark.parametrize("case", PARTS)
@pytest.mark.parametrize("algorithm", [{}, {"algorithm": "fedprox", "proximal_mu": 2.0, "steps": 2}])
def test_a_bound_that_no_part_reaches_gives_the_step_of_the_batch(with_one_too_short, start, case, algorithm):
    """With masks, parts of unequal sizes and an utterance that does not count."""
    far = {"gradient_clip": 1e6, "learning_rate": 0.001, **algorithm}
    plain, report = update_of(start, with_one_too_short, **far)
    found, of_parts = update_of(start, with_one_too_short, **far, **PARTS[case])
    assert float((found - plain).norm()) < 1e-4 * float(plain.norm())
    assert of_parts.loss == pytest.approx(report.loss, rel=1e-5) and of_parts.steps == report.steps


def gradients_of(start, batches):
    """The gradient of each batch, by autograd."""
    for batch in batches:
        trainer = LocalTrainer(build_model("tiny"), settings())
        trainer._vector.copy_(start)
        trainer._differentiate_(collate(batch), start)
        yield trainer._gradients.clone()


def test_parts_are_clipped_each_by_itself(examples, start):
    alone = list(gradients_of(start, [[one] for one in examples]))
    bound = float(torch.stack([one.norm() for one in alone]).median())
    found, _ = update_of(
        start, examples, clip="micro-batch", micro_batch=1, gradient_clip=bound, spec_augment=False
    )
    clipped = sum(one * min(1.0, bound / float(one.norm())) for one in alone) / 7
    torch.testing.assert_close(found, 0.1 * clipped, rtol=1e-3, atol=1e-5)
    plain, _ = update_of(start, examples, gradient_clip=bound, spec_augment=False)
    assert float((found - plain).norm()) > 0.01 * float(plain.norm())


def test_adaptive_parts_all_have_the_smallest_norm(examples, start):
    alone = list(gradients_of(start, [[one] for one in examples]))
    smallest = min(float(one.norm()) for one in alone)
    for unused in (1e-3, 1e3):
        found, _ = update_of(start, examples, clip="adaptive-micro", gradient_clip=unused, spec_augment=False)
        expected = sum(one * smallest / float(one.norm()) for one in alone) / 7
        torch.testing.assert_close(found, 0.1 * expected, rtol=1e-3, atol=1e-5)


def test_parts_leave_nothing_for_the_next_speaker(examples, start):
    trainer = LocalTrainer(build_model("tiny"), settings(clip="adaptive-micro", batch_size=3))
    first = trainer.update(start, examples, TURN)[0].clone()
    trainer.update(start, examples[:2], TURN)
    assert torch.equal(trainer.update(start, examples, TURN)[0], first)


def test_parts_that_divide_no_batch_are_refused():
    with pytest.raises(
        ConfigError, match=r"local.clip = 'per-core', local.clip-cores = 4 and local.batch-size = 3"
    ):
        settings(clip="per-core", batch_size=3)
