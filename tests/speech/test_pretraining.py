import dataclasses
import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from base.registries import MODEL_PRESETS
from speech.corpora.corpus import Corpus
from speech.data.examples import ExampleStore
from speech.errors import CorpusError, SpeechError
from speech.evaluation.evaluation import Evaluation, evaluate
from speech.features.spec_augment import SpecAugment
from speech.model.ctc_transformer import build_model
from speech.pretraining import Epoch, PretrainConfig, Step, features, pretrain, session
from speech.pretraining.distributed import Processes
from speech.pretraining.schedules import learning_rate_scale
from tests.speech import toy

SHORT = PretrainConfig(epochs=2, batch_size=4, evaluate_every=1)


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return toy.corpus(tmp_path)


def test_a_model_learns_a_toy_language_and_recognises_new_sentences(tmp_path: Path) -> None:
    corpus = toy.corpus(tmp_path, speakers=10, utterances=12)
    found = pretrain(corpus, PretrainConfig(epochs=12, batch_size=4))
    assert found.epochs[-1].loss < 0.2 * found.epochs[0].loss
    assert found.evaluations["seed-test"].cer < 0.15
    assert not found.model.training


def test_it_reports_every_epoch_and_evaluates_when_asked(corpus: Corpus) -> None:
    reported: list[Epoch] = []
    found = pretrain(corpus, SHORT, on_epoch=reported.append)
    assert reported == list(found.epochs) and [epoch.number for epoch in reported] == [1, 2]
    assert all(set(epoch.evaluations) == {"seed-test"} for epoch in reported)
    seldom = pretrain(corpus, SHORT.model_copy(update={"evaluate_every": 0}))
    assert [bool(epoch.evaluations) for epoch in seldom.epochs] == [False, True]


def test_it_is_deterministic_and_leaves_the_global_generator_alone(corpus: Corpus) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (
        pretrain(corpus, SHORT.model_copy(update={"random_seed": seed})).model for seed in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert same(first, again)
    assert not torch.equal(first.output.weight, other.output.weight)


def test_features_on_disk_are_computed_once_and_change_nothing(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = pretrain(corpus, SHORT).model
    reported: list[tuple[str, int, int]] = []
    folder = tmp_path / "features"
    kept = pretrain(corpus, SHORT, feature_folder=folder, on_features=lambda *w: reported.append(w)).model
    assert reported == [("seed-test", 1, 2), ("seed-test", 2, 2), ("seed", 1, 2), ("seed", 2, 2)]
    monkeypatch.setattr("speech.audio.Recording.read", None)
    found = pretrain(corpus, SHORT, feature_folder=tmp_path / "features").model
    assert same(plain, kept) and same(plain, found)


class Second(Processes):
    """The second of two processes, whose fellow is imagined."""

    def gathered(self, thing: object) -> list[object]:
        return [thing, thing]


@pytest.mark.parametrize(("folder", "computed"), [("features", ["seed-1", "seed-3"]), (None, [])])
def test_a_process_computes_its_share_of_the_features_for_all(
    tmp_path: Path, folder: str | None, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = toy.corpus(tmp_path, speakers=4)
    model = build_model("tiny", seed=0)
    store = features.open_store(corpus, model, tmp_path / folder if folder else None)
    asked: list[str] = []
    monkeypatch.setattr(store, "examples", lambda split, speaker: asked.append(speaker))
    reported: list[tuple[str, int, int]] = []
    features.compute_together(store, ["seed"], Second(rank=1, count=2), lambda *what: reported.append(what))
    assert asked == computed
    assert reported == [("seed", number + 1, len(computed)) for number in range(len(computed))]


def test_looking_does_not_change_the_training(corpus: Corpus) -> None:
    looked, not_looked = (
        pretrain(corpus, SHORT.model_copy(update={"evaluate_every": every})).model for every in (1, 0)
    )
    assert same(looked, not_looked)


def test_unusable_audio_is_skipped_and_listed(corpus: Corpus, tmp_path: Path) -> None:
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


def test_several_settings_of_batches_and_length() -> None:
    config = PretrainConfig(batch_size=0, batch_seconds=4.0, epochs=0, steps=7)
    assert (config.batch_limit.seconds, config.batch_limit.utterances) == (4.0, 0)


def test_a_number_of_steps_ends_in_the_middle_of_a_pass(corpus: Corpus) -> None:
    steps: list[Step] = []
    config = SHORT.model_copy(update={"epochs": 0, "steps": 5, "batch_size": 3})
    found = pretrain(corpus, config, on_step=lambda step, look: steps.append(step))
    assert [step.number for step in steps] == [1, 2, 3, 4, 5]
    assert [step.epoch for step in steps] == [1, 1, 1, 2, 2]
    assert {step.of for step in steps} == {5}
    assert found.kept == 2 and found.evaluations


def test_batches_by_seconds_train_and_say_what_padding_cost(corpus: Corpus) -> None:
    config = SHORT.model_copy(update={"batch_size": 0, "batch_seconds": 3.0})
    steps: list[Step] = []
    found = pretrain(corpus, config, on_step=lambda step, look: steps.append(step))
    frames = [
        len(e.features) for e in ExampleStore(corpus, MODEL_PRESETS["tiny"].features).split_examples("seed")
    ]
    assert len(steps) / 2 >= sum(frames) * 0.01 / 3.0
    assert 0.8 < found.epochs[0].efficiency <= 1
    # One batch of everything: its padding is known.
    whole = pretrain(corpus, SHORT.model_copy(update={"batch_size": 100})).epochs[0]
    assert whole.efficiency == pytest.approx(sum(frames) / (max(frames) * len(frames)))


@pytest.mark.parametrize(("optimiser", "rate"), [("adamw", 3e-3), ("lamb", 0.02), ("lars", 2.0)])
def test_every_optimiser_learns(corpus: Corpus, optimiser: str, rate: float) -> None:
    config = PretrainConfig(optimiser=optimiser, learning_rate=rate, epochs=10, batch_size=4)
    epochs = pretrain(corpus, config).epochs
    assert epochs[-1].loss < 0.7 * epochs[0].loss


def test_lars_is_the_papers_rule(corpus: Corpus) -> None:
    """One step of a matrix: learning rate x trust coefficient x its own norm, whatever the gradient."""
    config = PretrainConfig(
        optimiser="lars", learning_rate=0.5, weight_decay=0.0, epochs=0, steps=1, warm_up=0.0, flat_until=1.0
    )
    before, after = build_model("tiny", seed=0), pretrain(corpus, config).model
    for name, new in after.named_parameters():
        old = before.get_parameter(name).detach()
        if new.ndim > 1:
            torch.testing.assert_close((new - old).norm(), 0.5 * 0.001 * old.norm(), rtol=1e-3, atol=0)


def test_early_looks_come_when_asked_for_and_change_nothing(corpus: Corpus) -> None:
    looks: list[tuple[int, Evaluation]] = []

    def keep(step: Step, look: Evaluation | None) -> None:
        if look is not None:
            looks.append((step.number, look))

    looked = pretrain(corpus, SHORT.model_copy(update={"look_every": 3}), on_step=keep)
    assert [number for number, _ in looks] == [3]
    assert len(looks[0][1].hypotheses) == 8
    plain = pretrain(corpus, SHORT, on_step=keep)
    assert len(looks) == 1
    assert same(looked.model, plain.model)


def test_the_best_model_by_dev_wer_is_kept(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([0.9, 0.4, 0.4, 0.7])

    def pretended(model: torch.nn.Module, examples: list) -> Evaluation:
        real = evaluate(model, examples)
        return dataclasses.replace(real, wer=next(rates, real.wer))

    monkeypatch.setattr(session, "evaluate", pretended)
    config = PretrainConfig(epochs=4, batch_size=4, evaluate_every=1, warm_up=0.0, flat_until=1.0)
    best = pretrain(corpus, config.model_copy(update={"keep": "best"}))
    assert best.kept == 2
    monkeypatch.undo()
    after_two = pretrain(corpus, config.model_copy(update={"epochs": 2}))
    assert same(best.model, after_two.model)
    assert best.evaluations["seed-test"].loss == after_two.evaluations["seed-test"].loss


def test_the_rate_rises_stays_and_falls() -> None:
    config = PretrainConfig(warm_up=0.1, flat_until=0.5)
    scales = [learning_rate_scale(done, 19, config) for done in range(-1, 20)]
    assert scales[0] == 0 and scales[1] == 0.5
    assert scales[2:11] == [1.0] * 9
    assert scales[10:] == sorted(scales[10:], reverse=True)
    assert math.isclose(scales[15], 0.5) and math.isclose(scales[20], 0, abs_tol=1e-9)
    constant = PretrainConfig(schedule="constant", warm_up=0.0)
    assert {learning_rate_scale(done, 20, constant) for done in range(20)} == {1.0}


def test_steps_and_powers_of_decay() -> None:
    """The paper's central schedule: constant, then halved every so many steps."""
    halved = PretrainConfig(schedule="step", warm_up=0.0, decay_after=40, decay_every=50, decay_factor=0.5)
    at = {done: learning_rate_scale(done, 300, halved) for done in (0, 39, 40, 89, 90, 140)}
    assert at == {0: 1.0, 39: 1.0, 40: 0.5, 89: 0.5, 90: 0.25, 140: 0.125}
    smooth = halved.model_copy(update={"schedule": "exponential", "decay_factor": 0.6})
    assert learning_rate_scale(40, 300, smooth) == 1.0
    assert math.isclose(learning_rate_scale(65, 300, smooth), 0.6**0.5)
    assert math.isclose(learning_rate_scale(90, 300, smooth), 0.6)
    warm = smooth.model_copy(update={"warm_up": 0.5, "decay_after": 0})
    assert math.isclose(learning_rate_scale(49, 299, warm), (50 / 300 / 0.5) * 0.6 ** (49 / 50))


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
        {"steps": 5},
        {"epochs": 0, "steps": 0},
        {"batch_seconds": 10.0},
        {"batch_size": 0},
        {"optimiser": "sgd"},
        {"schedule": "linear"},
        {"schedule": "step", "decay_factor": 1.0},
        {"keep": "best"},
        {"keep": "best", "evaluate_every": 1, "held_out": ()},
        {"look_every": 5, "held_out": ()},
        {"unknown": 1},
    ],
)
def test_impossible_settings_are_refused(change: dict) -> None:
    with pytest.raises(ValidationError):
        PretrainConfig(**change)


def test_masks_dropout_and_layer_drop_are_settings(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[SpecAugment] = []
    draw = SpecAugment.__call__
    monkeypatch.setattr(SpecAugment, "__call__", lambda self, *rest: seen.append(self) or draw(self, *rest))
    usual = {"epochs": 1, "batch_size": 2, "held_out": ()}  # 8 utterances, 4 steps
    trained = pretrain(
        corpus, PretrainConfig(**usual, dropout=0.1, layer_drop=0.2, spec_augment_after=3, time_masks=7)
    )
    assert seen == [SpecAugment(time_masks=7)]
    assert (trained.model.config.dropout, trained.model.config.layer_drop) == (0.1, 0.2)
    of_preset = pretrain(corpus, PretrainConfig(**usual, dropout="preset", spec_augment=False)).model.config
    assert (of_preset.dropout, len(seen)) == (0.0, 1)
