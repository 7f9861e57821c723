"""A training that was interrupted and resumed is the training that was not."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from speech.corpora.corpus import Corpus
from speech.corpora.loading import load_corpus
from speech.errors import CheckpointMismatch
from speech.pretraining import Epoch, PretrainConfig, Pretrained, Snapshots, Step, pretrain
from tests.speech import toy

# 8 utterances: 2 passes of 3 steps. Everything random is on.
CONFIG = PretrainConfig(epochs=2, batch_size=3, dropout=0.1, layer_drop=0.3, evaluate_every=1)
STEPS = 6


class Interrupted(Exception):
    pass


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return toy.corpus(tmp_path)


def interrupted(corpus: Corpus, config: PretrainConfig, snapshots: Snapshots, after: int) -> None:
    def stop(step: Step, look: object) -> None:
        if step.number == after:
            raise Interrupted

    with pytest.raises(Interrupted):
        pretrain(corpus, config, snapshots=snapshots, on_step=stop)


def assert_same(found: Pretrained, expected: Pretrained) -> None:
    for a, b in zip(found.model.parameters(), expected.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert found.kept == expected.kept
    for one, other in zip(reversed(found.epochs), reversed(expected.epochs), strict=False):
        assert facts(one) == facts(other)
    assert found.evaluations == expected.evaluations


def facts(epoch: Epoch) -> tuple:
    return epoch.number, epoch.loss, epoch.efficiency, epoch.evaluations


@pytest.mark.parametrize("after", range(1, STEPS + 1))
def test_resumed_after_any_step_it_is_the_same_bit_for_bit(
    corpus: Corpus, tmp_path: Path, after: int
) -> None:
    whole = pretrain(corpus, CONFIG)
    path = tmp_path / "snapshot"
    interrupted(corpus, CONFIG, Snapshots(path=path, every=1), after)
    torch.manual_seed(12345)  # whatever the next process has done before
    resumed = pretrain(corpus, CONFIG, snapshots=Snapshots(path=path, every=1, resume=True))
    assert_same(resumed, whole)


CHANGES = {
    "lars": {"optimiser": "lars", "learning_rate": 1.0},
    "lamb": {"optimiser": "lamb"},
    "seconds": {"batch_size": 0, "batch_seconds": 3.0},
    "steps": {"epochs": 0, "steps": 5},
    "best": {"epochs": 4, "keep": "best"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_resumed_twice_with_steps_lost_it_is_the_same(corpus: Corpus, tmp_path: Path, change: str) -> None:
    config = PretrainConfig.model_validate({**CONFIG.model_dump(), **CHANGES[change]})
    whole = pretrain(corpus, config)
    path = tmp_path / "snapshot"
    interrupted(corpus, config, Snapshots(path=path, every=2), 3)  # the third step is lost
    interrupted(corpus, config, Snapshots(path=path, every=2, resume=True), 5)
    resumed = pretrain(corpus, config, snapshots=Snapshots(path=path, every=2, resume=True))
    assert_same(resumed, whole)


@pytest.fixture
def snapshot(corpus: Corpus, tmp_path: Path) -> Snapshots:
    path = tmp_path / "snapshot"
    interrupted(corpus, CONFIG, Snapshots(path=path, every=1), 2)
    return Snapshots(path=path, every=1, resume=True)


def test_another_training_is_refused_with_every_difference(corpus: Corpus, snapshot: Snapshots) -> None:
    other = CONFIG.model_copy(update={"learning_rate": 1e-2, "epochs": 3})
    with pytest.raises(CheckpointMismatch) as caught:
        pretrain(corpus, other, snapshots=snapshot)
    assert "epochs was 2 and is now 3" in str(caught.value)
    assert "learning-rate was 0.003 and is now 0.01" in str(caught.value)


def test_another_corpus_is_refused(snapshot: Snapshots, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    with pytest.raises(CheckpointMismatch, match=r"corpus was '[0-9a-f]{64}' and is now"):
        pretrain(toy.corpus(folder, utterances=3), CONFIG, snapshots=snapshot)


def test_audio_that_is_gone_is_refused(corpus: Corpus, snapshot: Snapshots, tmp_path: Path) -> None:
    (tmp_path / "seed-0-1.wav").unlink()
    again = load_corpus("manifest", tmp_path / "manifest.jsonl")
    with pytest.raises(CheckpointMismatch):
        pretrain(again, CONFIG, snapshots=snapshot)
    (tmp_path / "seed-0-1.wav").write_bytes(b"")
    with pytest.raises(CheckpointMismatch, match="8 utterances with usable audio and has 7"):
        pretrain(corpus, CONFIG, snapshots=snapshot)


def test_as_many_but_other_utterances_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    one, other = (tmp_path / f"seed-0-{number}.wav" for number in (1, 2))
    sounds = one.read_bytes(), other.read_bytes()
    one.write_bytes(b"")
    path = tmp_path / "snapshot"
    interrupted(corpus, CONFIG, Snapshots(path=path, every=1), 2)
    one.write_bytes(sounds[0])
    other.write_bytes(b"")
    with pytest.raises(CheckpointMismatch, match=r"had 7 utterances .* has 7, not all the same: restore the"):
        pretrain(corpus, CONFIG, snapshots=Snapshots(path=path, every=1, resume=True))


def test_what_is_no_snapshot_is_refused(corpus: Corpus, snapshot: Snapshots) -> None:
    whole = snapshot.path.read_bytes()
    snapshot.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointMismatch, match="not a readable safetensors file"):
        pretrain(corpus, CONFIG, snapshots=snapshot)
    save_file({"a": torch.zeros(1)}, snapshot.path, {"format": "murmuration-model"})
    with pytest.raises(CheckpointMismatch, match="format 'murmuration-model', this release reads"):
        pretrain(corpus, CONFIG, snapshots=snapshot)


def test_a_snapshot_is_neither_overwritten_nor_expected_by_accident(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    with pytest.raises(ValueError, match="nothing to resume; start without --resume"):
        Snapshots(path=path, every=1, resume=True)
    path.touch()
    with pytest.raises(ValueError, match="not finished: continue it with --resume, or delete it"):
        Snapshots(path=path, every=1)
