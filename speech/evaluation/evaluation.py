"""Evaluation of a model: mean loss, WER and CER over examples, with the model's own decoding."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from speech.corpora.corpus import Corpus
from speech.data.batching import bucketed_batches, collate
from speech.data.examples import Example
from speech.evaluation.assessment import Assessment
from speech.evaluation.error_rates import character_error_rate, word_error_rate
from speech.model.recogniser import Recogniser, evaluating


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Loss in nats per utterance, WER and CER as fractions, ids and texts in the order of the examples.

    Example:
        >>> evaluation = Evaluation(
        ...     loss=1.5, wer=0.5, cer=0.4, ids=("u1",), hypotheses=("turn",), references=("turn left",)
        ... )
        >>> evaluation.hypotheses
        ('turn',)
    """

    loss: float
    wer: float
    cer: float
    ids: tuple[str, ...]
    hypotheses: tuple[str, ...]
    references: tuple[str, ...]


@torch.inference_mode()
def evaluate(model: Recogniser, examples: Sequence[Example], batch_size: int = 32) -> Evaluation:
    """Evaluate `model` without dropout; its mode is restored.

    The loss leaves out utterances that are too short for their transcript; the error rates include all.

    Raises:
        ValueError: If there is no example.
    """
    if not examples:
        raise ValueError("nothing to evaluate on: the split has no usable utterance.")
    with evaluating(model):
        loss, hypotheses = _transcribe(model, examples, batch_size)
    references = tuple(example.text for example in examples)
    return Evaluation(
        loss=loss,
        wer=word_error_rate(references, hypotheses),
        cer=character_error_rate(references, hypotheses),
        ids=tuple(example.id for example in examples),
        hypotheses=tuple(hypotheses),
        references=references,
    )


def assess(evaluation: Evaluation, corpus: Corpus, split: str) -> Assessment:
    """Return the errors of an evaluation on a split, by kind and by speaker.

    Raises:
        KeyError: For an utterance that the split does not have.
    """
    spoken = (u for speaker in corpus.speakers(split) for u in corpus.utterances(split, speaker))
    speaker_of = {utterance.id: utterance.speaker for utterance in spoken}
    return Assessment.of(
        ids=evaluation.ids,
        speakers=[speaker_of[id] for id in evaluation.ids],
        references=evaluation.references,
        hypotheses=evaluation.hypotheses,
    )


def _transcribe(model: Recogniser, examples: Sequence[Example], batch_size: int) -> tuple[float, list[str]]:
    """Return the mean loss and the hypotheses; batches have utterances of similar length."""
    total, counted = 0.0, 0
    hypotheses = [""] * len(examples)
    for indices in bucketed_batches([len(e.features) for e in examples], batch_size):
        found = model.evaluate(collate([examples[index] for index in indices]))
        total += float(found.losses.sum())
        counted += found.counted
        for index, text in zip(indices, found.texts, strict=True):
            hypotheses[index] = model.comparable(text)
    return total / max(counted, 1), hypotheses
