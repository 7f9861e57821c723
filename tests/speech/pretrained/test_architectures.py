"""What every architecture must do, whichever family takes it."""

import json
import shutil

import pytest
import torch

from base.registries import MODEL_FAMILIES
from speech.data.batching import collate
from speech.data.examples import Example
from speech.errors import ModelError
from speech.model.modes import evaluating
from speech.pretrained.ctc import PretrainedCTC
from speech.pretrained.seq2seq import PretrainedSeq2Seq
from speech.pretrained.whisper import Whisper
from tests.pretrained_models import ARCHITECTURES, CTC, TEXTS, examples_of, load, tiny_model, waveforms

EVERY = pytest.mark.parametrize("name", ARCHITECTURES)


@EVERY
def test_its_family_follows_from_what_it_can_do(folder_of, name):
    model = load(folder_of(name))
    expected = PretrainedCTC if name in CTC else {"whisper": Whisper}.get(name, PretrainedSeq2Seq)
    assert type(model) is expected
    takers = [one for one in MODEL_FAMILIES if MODEL_FAMILIES[one].takes(model.base.config)]
    assert len(takers) == 1


@EVERY
def test_its_tokeniser_gives_the_text_back(folder_of, name):
    model = load(folder_of(name))
    for text in TEXTS:
        ids = model.tokeniser.encode(text)
        blank = getattr(model, "blank", None)  # between equal neighbours, which CTC decoding would join
        frames = ids if blank is None else [frame for one in ids for frame in (one, blank)]
        assert model.tokeniser.decode(frames) == text


def losses_and_objective(model, examples):
    """Return losses, texts and the objective of a batch, without dropout."""
    batch = collate(examples)
    with torch.no_grad(), evaluating(model):
        found = model.evaluate(batch)
        return found.losses, list(found.texts), float(model.objective(batch)), batch


@EVERY
def test_an_utterance_gives_the_same_alone_and_together(folder_of, name):
    model = load(folder_of(name))
    examples = examples_of(model)
    together, texts, objective, batch = losses_and_objective(model, examples)
    alone = [losses_and_objective(model, [one]) for one in examples]
    torch.testing.assert_close(together, torch.cat([one[0] for one in alone]), rtol=1e-5, atol=1e-4)
    assert texts == [one[1][0] for one in alone]
    assert len(set(texts)) > 1
    weights = batch.token_lengths if name not in CTC else torch.ones(len(examples))
    mean = sum(w * one[2] for w, one in zip(weights.tolist(), alone, strict=True)) / float(weights.sum())
    assert objective == pytest.approx(mean, rel=1e-5)
    with torch.no_grad():
        assert model.weighted_objective(batch)[1] == float(weights.sum())


@pytest.mark.parametrize("name", ["whisper", "moonshine"])
def test_of_a_transcript_beyond_the_decoders_reach_the_beginning_is_trained(folder_of, name):
    model = load(folder_of(name))
    first = examples_of(model)[0]
    texts = ["one two " * words for words in (1, 400, 800)]
    fit, long, longer = (Example.of(text, text, first.features, model.tokeniser) for text in texts)
    assert len(fit.tokens) < model._positions < len(long.tokens)
    with torch.no_grad(), evaluating(model):
        (loss, weight), other = (model.weighted_objective(collate([one])) for one in (long, longer))
        assert (loss, weight) == other and weight == model._positions
        assert len(model.evaluate(collate([fit, long])).losses) == 2


@pytest.mark.parametrize("name", CTC)
def test_its_log_probabilities_are_those_of_the_library(folder_of, name):
    from transformers import AutoFeatureExtractor, AutoModelForCTC

    folder = folder_of(name)
    theirs = AutoModelForCTC.from_pretrained(folder).eval()
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    model = load(folder)
    for example, wave in zip(examples_of(model), waveforms(), strict=True):
        batch = collate([example])
        with torch.no_grad():
            expected = theirs(**extractor(wave.numpy(), sampling_rate=16000, return_tensors="pt")).logits
            found, frames = model(batch.features, batch.lengths)
        padding = 1 if name == "parakeet" else 0  # a frame that its extractor adds and masks
        assert expected.shape[1] - padding <= int(frames) == found.shape[1]
        torch.testing.assert_close(found, expected.log_softmax(-1)[:, : int(frames)], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CTC)
def test_a_new_head_has_the_characters_of_the_corpus(folder_of, name):
    model = load(folder_of(name), head="characters")
    batch = collate(examples_of(model))
    with torch.no_grad():
        log_probs, _ = model(batch.features, batch.lengths)
    assert log_probs.shape[-1] == model.alphabet.num_outputs == model.base.config.vocab_size
    assert batch.tokens.tolist() == [one for text in TEXTS for one in model.alphabet.encode(text)]
    other = load(folder_of(name), head="characters")
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["whisper", "moonshine"])
def test_a_decoder_gets_no_new_head(folder_of, name):
    with pytest.raises(ModelError, match=r"model\.head = 'characters'"):
        load(folder_of(name), head="characters")


def test_a_model_without_weights_of_its_own_for_a_tensor_is_refused_by_its_name(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tiny_model("wav2vec2", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lm_head\.weight"):
        load(folder)


def test_another_kind_of_model_is_refused_by_its_type(tmp_path, folder_of):
    shutil.copytree(folder_of("wav2vec2"), tmp_path / "copy")
    config = tmp_path / "copy" / "config.json"
    config.write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ModelError, match="'bert'"):
        load(tmp_path / "copy")
