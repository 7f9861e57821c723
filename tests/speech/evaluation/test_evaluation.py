import pytest
import torch

from speech.data.batching import collate
from speech.decoding import greedy
from speech.evaluation.error_rates import character_error_rate, word_error_rate
from speech.evaluation.evaluation import evaluate
from speech.model.ctc_transformer import build_model
from speech.model.recogniser import BatchEvaluation
from speech.text import ENGLISH
from tests.speech import toy


def test_evaluation_is_a_loop_over_single_utterances_in_their_order() -> None:
    model = build_model("tiny", seed=0).eval()
    examples = toy.examples([90, 41, 120, 60, 77])
    texts, losses = [], []
    with torch.no_grad():
        for example in examples:
            batch = collate([example])
            texts += greedy(*model(batch.features, batch.lengths), ENGLISH)
            losses.append(float(model.objective(batch)))
    assert len(set(texts)) == 5
    for batch_size in (1, 2, 32):
        found = evaluate(model, examples, batch_size)
        assert list(found.hypotheses) == texts
        assert found.references == ("ab cd",) * 5
        assert found.loss == pytest.approx(sum(losses) / 5, rel=1e-4)
        assert found.wer == word_error_rate(found.references, texts)
        assert found.cer == character_error_rate(found.references, texts)


def test_batches_of_seconds_change_nothing_but_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    model, examples = build_model("tiny", seed=0), toy.examples([90, 41, 120, 60, 77])
    whole, sizes = evaluate(model, examples), []
    own = model.evaluate
    monkeypatch.setattr(model, "evaluate", lambda batch: sizes.append(len(batch)) or own(batch))
    found = evaluate(model, examples, batch_seconds=2.0)
    assert found.hypotheses == whole.hypotheses and found.loss == pytest.approx(whole.loss, rel=1e-4)
    assert sum(sizes) == 5 and sizes[0] < sizes[-1] < 5


def test_another_normaliser_compares_both_sides_as_they_were_written(monkeypatch: pytest.MonkeyPatch) -> None:
    model, examples = build_model("tiny", seed=0), toy.examples([90, 60])
    said = BatchEvaluation(losses=torch.zeros(2), counted=2, texts=["Ab  cd.", "ab cd"])
    monkeypatch.setattr(model, "evaluate", lambda batch: said)
    written = {example.id: "Ab cd." for example in examples}
    found = evaluate(model, examples, normaliser="none", written=written)
    assert (found.normaliser, found.wer, found.references) == ("none", 1.0 / 2, ("Ab cd.", "Ab cd."))
    assert evaluate(model, examples, normaliser="whisper-english", written=written).wer == 0
    assert evaluate(model, examples).normaliser == "characters"


def test_an_utterance_too_short_for_its_text_is_left_out_of_the_loss_alone() -> None:
    model = build_model("tiny", seed=0)
    fitting, short = toy.examples([90]), toy.examples([8])
    both = evaluate(model, fitting + short)
    assert both.loss == pytest.approx(evaluate(model, fitting).loss, rel=1e-5)
    assert len(both.hypotheses) == 2
    assert evaluate(model, short).loss == 0


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_and_the_mode_restored(training: bool) -> None:
    examples = toy.examples([90, 41])
    model = build_model("tiny", seed=0, dropout=0.5).train(training)
    assert evaluate(model, examples).loss == evaluate(model, examples).loss
    assert model.training is training


def test_nothing_to_evaluate_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to evaluate on"):
        evaluate(build_model("tiny"), [])
