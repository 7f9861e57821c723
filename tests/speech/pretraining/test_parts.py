"""Clipping of parts of a batch, in central training."""

import json
from pathlib import Path

import pytest
import torch

from speech.corpora.corpus import Corpus
from speech.errors import CheckpointMismatch
from speech.model.ctc_transformer import build_model
from speech.pretraining import PretrainConfig, pretrain
from speech.pretraining.snapshot import Snapshot, load_snapshot, save_snapshot
from tests.speech import toy

FAR = PretrainConfig(  # one step of a size that shows the gradient
    epochs=0,
    steps=1,
    batch_size=5,
    held_out=(),
    dropout=0.0,
    optimiser="lars",
    learning_rate=0.1,
    warm_up=0.0,
    flat_until=1.0,
    gradient_clip=1e6,
)


def parameters(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([one.detach().flatten() for one in model.parameters()])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return toy.corpus(tmp_path_factory.mktemp("toy"))


@pytest.mark.parametrize(
    "parts", [{"clip": "micro-batch", "micro_batch": 2}, {"clip": "per-core", "clip_cores": 3}]
)
def test_a_bound_that_no_part_reaches_gives_the_steps_of_the_batch(corpus: Corpus, parts: dict) -> None:
    plain, found = pretrain(corpus, FAR), pretrain(corpus, FAR.model_copy(update=parts))
    after = parameters(plain.model)
    moved = float((after - parameters(build_model("tiny", seed=FAR.random_seed))).norm())
    assert moved > 0.1 and float((parameters(found.model) - after).norm()) < 1e-4 * moved
    assert found.epochs[-1].loss == pytest.approx(plain.epochs[-1].loss, rel=1e-5)
    assert found.epochs[-1].efficiency >= plain.epochs[-1].efficiency  # parts have less padding


def test_parts_train_otherwise_once_the_bound_is_reached_and_repeat(corpus: Corpus) -> None:
    near = FAR.model_copy(update={"clip": "adaptive-micro"})
    plain, once, again = (parameters(pretrain(corpus, one).model) for one in (FAR, near, near))
    assert torch.equal(once, again) and float((once - plain).norm()) > 0.01


def test_a_snapshot_of_a_release_without_parts_is_of_a_training_without_them(tmp_path: Path) -> None:
    now = json.loads(FAR.model_dump_json(by_alias=True))
    new = ("clip", "micro-batch", "clip-cores")
    then = {key: value for key, value in now.items() if key not in new}
    path = tmp_path / "snapshot"
    save_snapshot(path, Snapshot(identity=then, facts={}, tensors={"model.x": torch.zeros(1)}))
    assert load_snapshot(path, now).facts == {}
    with pytest.raises(CheckpointMismatch, match="clip was 'batch' and is now 'per-core'"):
        load_snapshot(path, {**now, "clip": "per-core"})
