import pytest
import torch

from cli.composing import default_config
from client.local_training import LocalTrainer
from recipes import RunConfig
from speech.corpus import load_corpus
from speech.examples import ExampleStore
from speech.features import PRESETS
from speech.model import build_model
from strategies import bind
from tests.corpora import make_corpus


def settings(**changes):
    flat = {**default_config(), **{f"local.{key.replace('_', '-')}": v for key, v in changes.items()}}
    return RunConfig.from_flat(flat).local


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    manifest = make_corpus(tmp_path_factory.mktemp("corpus"), {"train": 1}, utterances=7)
    store = ExampleStore(load_corpus("manifest", str(manifest)), PRESETS["tiny"])
    return store.examples("train", "train-00")


@pytest.fixture(scope="module")
def start():
    torch.manual_seed(0)
    _, vector = bind(build_model("tiny"))
    return vector


def test_the_update_is_old_minus_new_and_leaves_the_global_model_alone(examples, start):
    before = start.clone()
    trainer = LocalTrainer("tiny", settings(epochs=1))
    update, loss = trainer.update(start, examples, (1, 0))
    assert torch.equal(start, before)
    assert torch.equal(update, start - trainer._vector)
    assert update.abs().max() > 0
    assert loss > 0


def test_training_on_a_speaker_lowers_its_loss(examples, start):
    trainer = LocalTrainer("tiny", settings(epochs=1))
    vector = start.clone()
    losses = []
    for round_number in range(8):
        update, loss = trainer.update(vector, examples, (round_number, 0))
        vector -= update
        losses.append(loss)
    assert losses[-1] < 0.7 * losses[0]


def test_nothing_of_a_speaker_is_left_for_the_next(examples, start):
    trainer = LocalTrainer("tiny", settings(epochs=1))
    first = trainer.update(start, examples, (1, 0))[0].clone()
    trainer.update(start, examples[:2], (1, 1))
    assert torch.equal(trainer.update(start, examples, (1, 0))[0], first)


def test_steps_are_batches_looped_as_needed(examples, start):
    trainer = LocalTrainer("tiny", settings(epochs=0, steps=5, batch_size=4))
    assert len(list(trainer._batches(examples, torch.Generator()))) == 5
    one_pass = LocalTrainer("tiny", settings(epochs=2, steps=0, batch_size=4))
    batches = one_pass._batches(examples, torch.Generator())
    assert sorted(index for batch in batches for index in batch) == sorted([*range(7)] * 2)


def test_a_step_moves_by_at_most_rate_times_gradient_clip(examples, start):
    trainer = LocalTrainer("tiny", settings(epochs=0, steps=1, gradient_clip=1.0, learning_rate=0.3))
    update, _ = trainer.update(start, examples, (1, 0))
    assert float(update.norm()) == pytest.approx(0.3, rel=1e-4)


def test_there_is_room_for_the_statistics(examples, start):
    trainer = LocalTrainer("tiny", settings(), room_for=2)
    update, _ = trainer.update(start, examples, (1, 0))
    assert update.shape == (start.numel() + 2,)
    assert update[-2:].tolist() == [0.0, 0.0]
