"""One client's update with a public model: that of a plain loop with `transformers` alone, to the digit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from cli.composing import default_config
from client.training.local_training import LocalTrainer
from client.training.model import model_to_train
from client.training.speaker_round import SpeakerRound
from optim.flat_model import bind
from recipes import RunConfig
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
        texts, heard = [TEXTS[i] for i in batch], [waves[i] for i in batch]
        plain_loss(model, extractor, tokeniser, texts, heard).backward()
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
