import math

import pytest
import torch
from pydantic import ValidationError

from base.learning_settings import LearningSettings
from speech.data.batching import collate
from speech.data.examples import Example
from speech.micro_batches import ClippedMean, norm_of, parts_of
from speech.pretraining import PretrainConfig


def gradients(*norms):
    """Gradients of two tensors each, with these norms."""
    generator = torch.Generator().manual_seed(0)
    for norm in norms:
        pair = [torch.randn(4, generator=generator), torch.randn(2, 3, generator=generator)]
        yield [one * norm / norm_of(pair) for one in pair]


def mean_of(bound, norms, weights):
    found = list(gradients(*norms))
    mean = ClippedMean(found[0], bound)
    for one, weight in zip(found, weights, strict=True):
        mean.add(one, weight)
    return found, mean.result()


def test_each_gradient_is_clipped_by_itself_and_weighed():
    found, mean = mean_of(1.0, (4.0, 0.5, 1.0), (2.0, 1.0, 1.0))
    for part in range(2):
        expected = (2 * found[0][part] / 4 + found[1][part] + found[2][part]) / 4
        torch.testing.assert_close(mean[part], expected)


def test_without_a_bound_each_is_scaled_to_the_smallest_norm():
    found, mean = mean_of(None, (4.0, 0.5, 2.0), (1.0, 1.0, 2.0))
    for part in range(2):
        expected = (found[0][part] / 8 + found[1][part] + 2 * found[2][part] / 4) / 4
        torch.testing.assert_close(mean[part], expected)


@pytest.mark.parametrize("bound", [1.0, None])
def test_a_part_without_a_gradient_counts_as_zero_but_sets_no_bound(bound):
    mean = ClippedMean([torch.zeros(2)], bound)
    mean.add([torch.tensor([0.6, 0.8])], 1.0)
    mean.add([torch.zeros(2)], 1.0)
    mean.add([None], 1.0)
    mean.add([torch.full((2,), math.nan)], 0.0)  # none of its utterances counts
    torch.testing.assert_close(mean.result()[0], torch.tensor([0.2, 0.8 / 3]))
    mean.reset_()
    mean.add([torch.zeros(2)], 1.0)
    assert mean.result()[0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("bound", [1.0, None])
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_seen(bound, wrong):
    mean = ClippedMean([torch.zeros(2)], bound)
    for value in (1.0, wrong, 2.0):
        mean.add([torch.full((2,), value)], 1.0)
    assert not mean.result()[0].isfinite().all()


@pytest.mark.parametrize("count", [1, 2, 5, 6, 13])
@pytest.mark.parametrize("clip", ["batch", "per-core", "micro-batch", "adaptive-micro"])
def test_every_utterance_is_in_one_part_and_no_part_is_empty(clip, count):
    parts = parts_of(count, LearningSettings(clip=clip, micro_batch=3, clip_cores=4))
    assert sorted(index for part in parts for index in part) == list(range(count))
    assert all(parts)
    assert len(parts) == {"batch": 1, "per-core": min(4, count)}.get(clip, -(-count // 3))


def test_a_part_of_a_batch_is_the_batch_of_its_utterances():
    examples = [
        Example.of(str(n), "turn it off"[: n + 1], torch.randn(12 - n, 3, generator=torch.Generator()))
        for n in range(5)
    ]
    part, alone = collate(examples).part([1, 4, 3]), collate([examples[index] for index in (1, 4, 3)])
    for name, value in vars(alone).items():
        assert torch.equal(getattr(part, name), value), name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip": "micro-batch", "micro_batch": 6}, "micro-batch = 6 and batch-size = 6.*set it below"),
        ({"clip": "adaptive-micro", "micro_batch": 9}, "micro-batch = 9 and batch-size = 6"),
        ({"clip": "per-core", "clip_cores": 7}, "clip-cores = 7 and batch-size = 6.*from 2 to"),
        ({"clip": "per-core", "clip_cores": 1}, "clip-cores = 1"),
        ({"clip": "micro-batch", "micro_batch": 0}, "greater than or equal to 1"),
        ({"clip": "core"}, "per-core"),
    ],
)
def test_parts_that_divide_no_batch_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        PretrainConfig(batch_size=6, **settings)
    if settings.get("clip") != "core" and settings.get("micro_batch") != 0:
        assert PretrainConfig(batch_size=0, batch_seconds=20.0, **settings)  # any number of utterances
