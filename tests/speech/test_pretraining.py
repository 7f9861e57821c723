import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from speech.corpus import Corpus
from speech.errors import CorpusError, SpeechError
from speech.pretraining import Epoch, PretrainConfig, learning_rate_scale, pretrain
from tests.speech import toy

SHORT = PretrainConfig(epochs=2, batch_size=4, evaluate_every=1)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return toy.corpus(tmp_path)


def test_a_model_learns_a_toy_language_and_hears_new_sentences(tmp_path: Path) -> None:
    corpus = toy.corpus(tmp_path, speakers=10, utterances=12)
    found = pretrain(corpus, PretrainConfig(epochs=12, batch_size=4))
    assert found.epochs[-1].loss < 0.2 * found.epochs[0].loss
    assert found.evaluations["seed-test"].cer < 0.15
    assert not found.model.training


def test_it_reports_every_epoch_and_evaluates_when_asked(corpus: Corpus) -> None:
    told: list[Epoch] = []
    found = pretrain(corpus, SHORT, on_epoch=told.append)
    assert told == list(found.epochs) and [epoch.number for epoch in told] == [1, 2]
    assert all(set(epoch.evaluations) == {"seed-test"} for epoch in told)
    seldom = pretrain(corpus, SHORT.model_copy(update={"evaluate_every": 0}))
    assert [bool(epoch.evaluations) for epoch in seldom.epochs] == [False, True]


def test_it_is_deterministic_and_leaves_the_global_generator_alone(corpus: Corpus) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (
        pretrain(corpus, SHORT.model_copy(update={"random_seed": seed})).model for seed in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.output.weight, other.output.weight)


def test_looking_does_not_change_the_training(corpus: Corpus) -> None:
    looked, not_looked = (
        pretrain(corpus, SHORT.model_copy(update={"evaluate_every": every})).model for every in (1, 0)
    )
    for a, b in zip(looked.parameters(), not_looked.parameters(), strict=True):
        assert torch.equal(a, b)


def test_unusable_audio_is_skipped_and_said(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "seed-0-1.wav").write_bytes(b"")
    assert len(pretrain(corpus, SHORT).skipped) == 1
    for file in tmp_path.glob("seed-[0-9]*.wav"):
        file.write_bytes(b"")
    with pytest.raises(CorpusError, match="no utterance of split 'seed' has usable audio"):
        pretrain(corpus, SHORT)


def test_a_split_that_is_not_there_is_named(corpus: Corpus) -> None:
    with pytest.raises(CorpusError, match="no split 'absent'"):
        pretrain(corpus, SHORT.model_copy(update={"held_out": ("absent",)}))


def test_divergence_stops_with_a_remedy(corpus: Corpus) -> None:
    wild = SHORT.model_copy(update={"learning_rate": 1e30, "epochs": 20})
    with pytest.raises(SpeechError, match=r"training diverged: .* lower learning-rate"):
        pretrain(corpus, wild)


def test_the_rate_rises_stays_and_falls() -> None:
    config = PretrainConfig(warm_up=0.1, flat_until=0.5)
    scales = [learning_rate_scale(p / 20, config) for p in range(21)]
    assert scales[0] == 0 and scales[1] == 0.5
    assert scales[2:11] == [1.0] * 9
    assert scales[10:] == sorted(scales[10:], reverse=True)
    assert math.isclose(scales[15], 0.5) and math.isclose(scales[20], 0, abs_tol=1e-9)
    constant = PretrainConfig(warm_up=0.0, flat_until=1.0)
    assert {learning_rate_scale(p / 20, constant) for p in range(21)} == {1.0}


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"epochs": "3"},
        {"epochs": True},
        {"learning_rate": math.nan},
        {"learning_rate": -1.0},
        {"weight_decay": math.inf},
        {"dropout": 1.0},
        {"warm_up": 1.1},
        {"unknown": 1},
    ],
)
def test_impossible_settings_are_refused(change: dict) -> None:
    with pytest.raises(ValidationError):
        PretrainConfig(**change)
