"""One client's update with a public model: that of a plain loop with `transformers` alone, to the digit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from cli.composing import default_config
from client.learner import Learner
from client.training.local_training import LocalTrainer
from client.training.model import model_to_train
from client.training.process_messages import Failed, decode, encode
from client.training.speaker_round import SpeakerRound
from optim.flat_model import layout_of
from recipes import RunConfig
from speech.data.batching import collate
from speech.errors import ModelError
from speech.text import ENGLISH
from tests.pretrained_models import ADAPTED, ARCHITECTURES, TEXTS, examples_of, tiny_model, waveforms

TURN = SpeakerRound(run="a", round_number=1, speaker="s")
OTHER = SpeakerRound(run="a", round_number=1, speaker="t")
SETTINGS = {
    "local.learning-rate": 0.05,
    "local.epochs": 2,
    "local.batch-size": 2,
    "local.gradient-clip": 1.0,
    "local.dropout": 0.0,
    "local.layer-drop": 0.0,
    "local.spec-augment": False,
}
TRAINED = {
    "wav2vec2": "all",
    "wav2vec2-group-norm": "base.wav2vec2.encoder.layers.*,base.lm_head.*",
    "hubert": "base.hubert.encoder.layers.*,base.lm_head.*",
    "wavlm": "base.wavlm.encoder.layers.*,base.lm_head.*",
    "wav2vec2-bert": "*.self_attn.*,*.conv_module.*,*.lm_head.*",
    "parakeet": "*.self_attn.*,*.feed_forward*,*.ctc_head.*",
    "whisper": "base.model.decoder.*",
    "moonshine": "all",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("pretrained")
    return {name: tiny_model(name, home / name) for name in ARCHITECTURES}


def config_of(folder, **changes):
    flat = {"model.name": str(folder), "model.seed": "base", **SETTINGS}
    changed = {key.replace("_", "-").replace("-", ".", 1): value for key, value in changes.items()}
    return RunConfig.from_flat({**default_config(), **flat, **changed})


def trainer_of(folder, **changes):
    """A trainer, the round's model (d,) and the speaker's examples."""
    config = config_of(folder, **changes)
    model = model_to_train(config.model, config.local, ENGLISH)
    examples = examples_of(model)
    trainer = LocalTrainer(model, config.local)
    return trainer, trainer._vector.clone(), examples


def library(folder):
    """The model, the extractor and the tokeniser as any script with `transformers` loads them."""
    from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoModelForSpeechSeq2Seq, AutoTokenizer

    ctc = (folder / "vocab.json").exists() or "parakeet" in folder.name
    model = (AutoModelForCTC if ctc else AutoModelForSpeechSeq2Seq).from_pretrained(folder)
    if ctc:
        model.config.ctc_loss_reduction, model.config.ctc_zero_infinity = "sum", True
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    return model.eval(), extractor, AutoTokenizer.from_pretrained(folder)  # eval: no dropout, fixed norms


def plain_loss(model, extractor, tokeniser, texts, waves):
    """The loss of a batch as the library computes it, in nats per utterance (CTC) or per target."""
    if hasattr(model.config, "ctc_loss_reduction"):
        return ctc_loss(model, extractor, tokeniser, texts, waves) / len(texts)
    nats = targets = 0
    for text, wave in zip(texts, waves, strict=True):
        inputs = extractor(wave.numpy(), sampling_rate=16000, return_tensors="pt")
        inputs.pop("attention_mask", None)
        ids = torch.tensor([tokeniser(f" {text}").input_ids])
        scores = model(**inputs, decoder_input_ids=ids[:, :-1]).logits[0]
        nats = nats + functional.cross_entropy(scores, ids[0, 1:], reduction="sum")
        targets += ids.shape[1] - 1
    return nats / targets


def ctc_loss(model, extractor, tokeniser, texts, waves):
    alone = getattr(model.config, "feat_extract_norm", "") == "group"  # trained without a mask
    groups = [[index] for index in range(len(texts))] if alone else [list(range(len(texts)))]
    upper = "A" in tokeniser.get_vocab() and "a" not in tokeniser.get_vocab()
    total = 0
    for group in groups:
        inputs = extractor(
            [waves[index].numpy() for index in group],
            sampling_rate=16000,
            padding=True,
            return_attention_mask=not alone,
            return_tensors="pt",
        )
        said = [texts[index].upper() if upper else texts[index] for index in group]
        labels = tokeniser(said, padding=True, add_special_tokens=False, return_tensors="pt")
        ids = labels.input_ids.masked_fill(labels.attention_mask == 0, -100)
        if hasattr(model, "ctc_head"):  # Parakeet: its labels have the pad token behind their end
            ids = labels.input_ids
        total = total + model(**inputs, labels=ids).loss
    return total


def plain_update(folder, trained, batches, settings):
    """Old minus new of a plain loop: torch's SGD and clipping on the library's own model."""
    model, extractor, tokeniser = library(folder)
    for name, value in model.named_parameters():
        value.requires_grad_(f"base.{name}" in trained)
    parameters = {f"base.{name}": value for name, value in model.named_parameters() if value.requires_grad}
    before = {name: value.detach().clone() for name, value in parameters.items()}
    optimiser = torch.optim.SGD(parameters.values(), lr=settings.learning_rate)
    waves = waveforms()
    for batch in batches:
        optimiser.zero_grad()
        texts, spoken = [TEXTS[i] for i in batch], [waves[i] for i in batch]
        plain_loss(model, extractor, tokeniser, texts, spoken).backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), settings.gradient_clip)
        optimiser.step()
    return {name: before[name] - value.detach() for name, value in parameters.items()}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_clients_update_is_that_of_a_plain_loop_with_transformers(folders, name):
    trainer, start, examples = trainer_of(folders[name], model_trainable=TRAINED[name])
    update, report = trainer.update(start, examples, TURN)
    assert report.steps == 4
    batches = trainer._batches(examples, TURN.generator("training"))
    theirs = plain_update(folders[name], set(trainer.layout.names), batches, trainer.settings)
    ours = trainer.layout.views(update)
    assert ours.keys() == theirs.keys()
    scale = torch.cat([value.flatten() for value in theirs.values()]).norm()
    assert float(scale) > 0.01
    for key, value in theirs.items():
        assert float((ours[key] - value).norm()) < 1e-5 * float(scale), key


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_training_the_second_factor_moves_nothing_else(folders, name):
    changes = {"model_adapters": ADAPTED[name], "model_trainable": "adapters", "model_adapter_rank": 4}
    config = config_of(folders[name], **changes)
    model = model_to_train(config.model, config.local, ENGLISH)
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    trainer = LocalTrainer(model, config.local)
    update, _ = trainer.update(trainer._vector.clone(), examples_of(model), TURN)
    assert all(key.endswith(".lora_B") for key in trainer.layout.names)
    moved = {key for key, value in model.named_parameters() if not torch.equal(value, before[key])}
    assert moved == set(trainer.layout.names)
    assert torch.isfinite(update).all()


@pytest.mark.parametrize("adapters", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_layout_is_known_without_weights(folders, name, adapters):
    """A node compares the layout of a task before its speaker process has read any weights."""
    trained = "*.lora_B" if adapters else "all"
    config = config_of(
        folders[name], model_adapters=ADAPTED[name] if adapters else "", model_trainable=trained
    )
    whole = layout_of(model_to_train(config.model, config.local, ENGLISH))
    with torch.device("meta"):
        names_only = layout_of(model_to_train(config.model, config.local, ENGLISH, weights=False))
    assert names_only == whole


def test_a_node_with_longer_utterances_than_the_models_window_trains_nobody(folders):
    config = config_of(folders["whisper"], corpus_max_seconds=30.0)
    learner = Learner(corpus=config.corpus, feature_cache="", model=config.model, local=config.local)
    with pytest.raises(ModelError, match="the model takes 4 seconds") as refused:
        learner.training(torch.zeros(1))
    report = decode(encode(Failed(error=refused.value)))
    assert type(report.error) is ModelError and str(report.error) == str(refused.value)


STEMS = {
    "whisper, frozen encoder": (  # in one batch: windows are equally long, which mixes others together
        "whisper",
        {"model_trainable": "base.model.decoder.layers.*", "local_batch_size": 4},
    ),
    "whisper, short": (
        "whisper",
        {"model_trainable": "base.model.decoder.layers.*", "model_window": "short"},
    ),
    "whisper, adapters from layer 1 on": (
        "whisper",
        {
            "model_adapters": "*.encoder.layers.1.*,*.decoder.*.fc1",
            "model_trainable": "adapters",
            "model_window": "short",
        },
    ),
    "wav2vec2, frozen convolutions": (
        "wav2vec2",
        {"model_trainable": "base.wav2vec2.encoder.layers.*,base.lm_head.*"},
    ),
}


@pytest.mark.parametrize("case", STEMS)
def test_a_cached_stem_changes_no_update(folders, case):
    name, changes = STEMS[case]
    updates = []
    for cached in (True, False):
        trainer, start, examples = trainer_of(folders[name], **changes, model_cache_frozen=cached)
        assert trainer._model.starts_from_stem == cached
        updates.append(trainer.update(start, examples, TURN))
    (ours, report), (theirs, without) = updates
    assert report.loss == pytest.approx(without.loss, rel=1e-5)
    assert float((ours - theirs).norm()) < 1e-5 * float(theirs.norm())


def test_a_stem_that_is_trained_is_not_cached(folders):
    trainer, _, _ = trainer_of(
        folders["whisper"], model_trainable="base.model.encoder.conv2.*", model_cache_frozen=True
    )
    assert not trainer._model.starts_from_stem


def objective(folder, seed, **changes):
    """The loss of a batch in training mode, with torch's generator at `seed`."""
    config = config_of(folder, **changes)
    model = model_to_train(config.model, config.local, ENGLISH)
    batch = collate(examples_of(model))
    torch.manual_seed(seed)
    with torch.no_grad():
        return float(model.objective(batch)), float(model.eval().objective(batch))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_without_dropout_and_layer_drop_training_has_no_randomness_left(folders, name):
    training, evaluation = objective(folders[name], seed=0)
    assert training == pytest.approx(evaluation, rel=1e-6)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_dropout_reaches_the_model(folders, name):
    first, plain = objective(folders[name], seed=0, local_dropout=0.5)
    other, _ = objective(folders[name], seed=1, local_dropout=0.5)
    assert plain != pytest.approx(first, rel=1e-4) != pytest.approx(other, rel=1e-4)


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - {"moonshine"}))
def test_layer_drop_reaches_the_model(folders, name):
    found = {round(objective(folders[name], seed, local_layer_drop=0.5)[0], 3) for seed in range(8)}
    assert len(found) > 1


@pytest.mark.parametrize("name", ["wav2vec2", "hubert", "wav2vec2-bert", "whisper"])
def test_training_draws_nothing_from_numpys_generator(folders, name):
    trainer, start, examples = trainer_of(folders[name], model_trainable=TRAINED[name], local_dropout=0.1)
    before = np.random.get_state()  # noqa: NPY002
    trainer.update(start, examples, TURN)
    after = np.random.get_state()  # noqa: NPY002
    assert before[0] == after[0] and np.array_equal(before[1], after[1]) and before[2:] == after[2:]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_update_follows_from_its_speaker_and_round_and_not_from_who_came_before(folders, name):
    changes = {"model_trainable": TRAINED[name], "local_dropout": 0.2, "local_layer_drop": 0.2}
    trainer, start, examples = trainer_of(folders[name], **changes)
    first = trainer.update(start, examples, TURN)[0].clone()
    np.random.seed(7)  # noqa: NPY002
    torch.manual_seed(7)
    trainer.update(start, examples[:3], OTHER)
    assert torch.equal(trainer.update(start, examples, TURN)[0], first)
    fresh, _, _ = trainer_of(folders[name], **changes)
    assert torch.equal(fresh.update(start, examples, TURN)[0], first)
    later = fresh.update(start, examples, replace(TURN, round_number=2))[0]
    assert not torch.equal(later, first)
