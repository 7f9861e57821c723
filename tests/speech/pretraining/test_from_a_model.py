"""Central training that starts from a pre-trained model, with most of it frozen."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from speech.corpora.corpus import Corpus
from speech.data.batching import collate
from speech.data.examples import ExampleStore
from speech.errors import CheckpointMismatch, SpeechError
from speech.model.adapters import Adapters
from speech.model.choice import ModelChoice
from speech.model.recogniser import Recogniser
from speech.pretraining import PretrainConfig, Snapshots, Start, Step, pretrain
from speech.pretraining.distributed import Processes
from speech.pretraining.start import trained_state
from speech.text import Alphabet
from tests.pretrained_models import tiny_model
from tests.speech import toy

CONFIG = PretrainConfig(epochs=0, steps=4, batch_size=3, held_out=(), spec_augment=False, dropout=0.1)


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> ModelChoice:
    folder = tiny_model("whisper", tmp_path_factory.mktemp("models") / "whisper")
    adapters = Adapters(layers="*decoder*.fc?,*decoder*.v_proj", rank=2)
    return ModelChoice(name=str(folder), window="short", adapters=adapters)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return toy.corpus(tmp_path)


def adapted(choice: ModelChoice, *, dropout: float = 0.1, cached: bool = False) -> Start:
    """A start that trains the B of every adapter."""

    def make(alphabet: Alphabet) -> Recogniser:
        model = choice.make(alphabet, dropout=dropout)
        for name, value in model.named_parameters():
            value.requires_grad_(name.endswith("lora_B"))
        if cached:
            assert model.start_from_stem()
        return model

    return Start(make=make, identity={"model.name": choice.name})


def test_what_is_frozen_stays_and_the_rest_learns(whisper: ModelChoice, corpus: Corpus) -> None:
    before = dict(whisper.make(corpus.alphabet).named_parameters())
    longer = CONFIG.model_copy(update={"steps": 0, "epochs": 6, "learning_rate": 0.02})
    found = pretrain(corpus, longer, start=adapted(whisper))
    for name, value in found.model.named_parameters():
        assert torch.equal(value, before[name]) != value.requires_grad, name
    assert found.epochs[-1].loss < 0.9 * found.epochs[0].loss


def test_a_step_is_one_of_the_models_objective(whisper: ModelChoice, corpus: Corpus) -> None:
    config = CONFIG.model_copy(
        update={"steps": 1, "batch_size": 8, "warm_up": 0.0, "flat_until": 1.0, "gradient_clip": 1e9}
    )
    found = pretrain(corpus, config, start=adapted(whisper, dropout=0.0)).model
    plain = adapted(whisper, dropout=0.0).make(corpus.alphabet).train()
    store = ExampleStore(corpus, plain.front_end, tokeniser=plain.tokeniser)
    trained = [value for value in plain.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(
        trained, lr=config.learning_rate, betas=(config.beta1, config.beta2), weight_decay=config.weight_decay
    )
    plain.objective(collate(store.split_examples("seed"))).backward()
    before = [value.detach().clone() for value in trained]
    optimiser.step()
    for value, start, other in zip(trained, before, trained_state(found).values(), strict=True):
        torch.testing.assert_close(other - start, value.detach() - start, rtol=1e-3, atol=1e-6)


def test_activations_of_what_is_frozen_give_the_same_model(whisper: ModelChoice, corpus: Corpus) -> None:
    once, each_time = (
        pretrain(corpus, CONFIG, start=adapted(whisper, dropout=0.0, cached=cached)).model
        for cached in (True, False)
    )
    for name, value in trained_state(once).items():
        torch.testing.assert_close(value, trained_state(each_time)[name], rtol=1e-3, atol=2e-5)


def test_activations_are_kept_on_disk(
    whisper: ModelChoice, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train() -> Recogniser:
        start, folder = adapted(whisper, cached=True), tmp_path / "features"
        return pretrain(corpus, CONFIG, start=start, feature_folder=folder).model

    first = train()
    monkeypatch.setattr("speech.audio.Recording.read", None)
    again = train()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_resumed_it_is_the_same_bit_for_bit_and_its_snapshot_is_small(
    whisper: ModelChoice, corpus: Corpus, tmp_path: Path
) -> None:
    start, path = adapted(whisper), tmp_path / "snapshot"
    whole = pretrain(corpus, CONFIG, start=start).model

    def stop(step: Step, look: object) -> None:
        if step.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(corpus, CONFIG, start=start, snapshots=Snapshots(path=path, every=1), on_step=stop)
    with safe_open(path, framework="pt") as file:
        kept = {name for name in file.keys() if name.startswith("model.")}  # noqa: SIM118
    assert kept == {f"model.{name}" for name in trained_state(whole)}
    going_on = Snapshots(path=path, every=1, resume=True)
    with pytest.raises(CheckpointMismatch, match=r"model\.name was '.*whisper' and is now 'another'"):
        pretrain(corpus, CONFIG, start=replace(start, identity={"model.name": "another"}), snapshots=going_on)
    resumed = pretrain(corpus, CONFIG, start=start, snapshots=going_on).model
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_the_best_pass_is_kept(whisper: ModelChoice, corpus: Corpus) -> None:
    config = CONFIG.model_copy(
        update={"steps": 0, "epochs": 2, "held_out": ("seed-test",), "evaluate_every": 1, "keep": "best"}
    )
    found = pretrain(corpus, config, start=adapted(whisper))
    passes = {epoch.number: epoch.evaluations["seed-test"].wer for epoch in found.epochs}
    assert passes[found.kept] == min(passes.values()) == found.evaluations["seed-test"].wer


def test_several_processes_are_refused(whisper: ModelChoice, corpus: Corpus) -> None:
    with pytest.raises(SpeechError, match="2 processes: a pre-trained model is trained by one"):
        pretrain(corpus, CONFIG, start=adapted(whisper), processes=Processes(rank=0, count=2))
