"""Evaluation of a model: mean loss, WER and CER over examples, with the model's own decoding."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from speech.corpora.corpus import Corpus, Utterance
from speech.data.batching import BatchLimit, collate
from speech.data.examples import Example
from speech.errors import CorpusError
from speech.evaluation.assessment import Assessment
from speech.evaluation.error_rates import character_error_rate, word_error_rate
from speech.evaluation.kept_batches import KeptBatches
from speech.evaluation.normalisers import CHARACTERS, normaliser_of
from speech.model.modes import evaluating
from speech.model.recogniser import BatchEvaluation, Recogniser

OnBatch = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Loss in nats per utterance, WER and CER as fractions, ids and texts in the order of the examples.

    Texts are those that were compared: as the `normaliser` makes them.

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
    normaliser: str = CHARACTERS


@torch.inference_mode()
def evaluate(
    model: Recogniser,
    examples: Sequence[Example],
    batch_size: int = 32,
    *,
    batch_seconds: float = 0.0,
    normaliser: str = CHARACTERS,
    written: Mapping[str, str] | None = None,
    kept: KeptBatches | None = None,
    on_batch: OnBatch = lambda done, of: None,
) -> Evaluation:
    """Evaluate `model` without dropout; its mode is restored.

    The loss leaves out utterances that are too short for their transcript; the error rates include all.

    Args:
        model: The model.
        examples: What to transcribe.
        batch_size: Utterances of a batch.
        batch_seconds: Seconds of audio of a batch, padding included, instead; 0 for `batch_size`.
        normaliser: What is compared (`speech.evaluation.normalisers`).
        written: The transcripts as they were written, by the ids of the examples; other normalisers than
            "characters" compare with these.
        kept: Keeps each batch's result, and gives those of an evaluation that was interrupted.
        on_batch: Called after each batch with the utterances so far, and with all.

    Raises:
        ValueError: If there is no example.
    """
    if not examples:
        raise ValueError("nothing to evaluate on: the split has no usable utterance.")
    limit = BatchLimit(seconds=batch_seconds) if batch_seconds else BatchLimit(utterances=batch_size)
    with evaluating(model):
        loss, texts = _transcribe(model, examples, limit, kept, on_batch)
    if normaliser == CHARACTERS:
        hypotheses = [model.comparable(text) for text in texts]
        references = tuple(example.text for example in examples)
    else:
        normalise = normaliser_of(normaliser, model.alphabet)
        hypotheses = [normalise(text) for text in texts]
        references = tuple(normalise((written or {})[example.id]) for example in examples)
    return Evaluation(
        loss=loss,
        wer=word_error_rate(references, hypotheses),
        cer=character_error_rate(references, hypotheses),
        ids=tuple(example.id for example in examples),
        hypotheses=tuple(hypotheses),
        references=references,
        normaliser=normaliser,
    )


def written_of(corpus: Corpus, split: str) -> dict[str, str]:
    """Return the transcripts of a split as they were written, by the ids of the utterances."""
    return {utterance.id: utterance.written for utterance in _utterances(corpus, split)}


def assess(evaluation: Evaluation, corpus: Corpus, split: str) -> Assessment:
    """Return the errors of an evaluation on a split, by kind and by speaker.

    Raises:
        KeyError: For an utterance that the split does not have.
    """
    speaker_of = {utterance.id: utterance.speaker for utterance in _utterances(corpus, split)}
    return Assessment.of(
        ids=evaluation.ids,
        speakers=[speaker_of[id] for id in evaluation.ids],
        references=evaluation.references,
        hypotheses=evaluation.hypotheses,
        normaliser=evaluation.normaliser,
    )


def values_of(field: str, corpus: Corpus, split: str) -> dict[str, str]:
    """Return the values of a field that the corpus keeps, by the ids of the utterances; "" for none.

    Raises:
        CorpusError: If no utterance of the split has the field.
    """
    values = {utterance.id: utterance.field(field) for utterance in _utterances(corpus, split)}
    if not any(values.values()):
        raise CorpusError(f"{corpus.name}: no utterance of split {split!r} has a field {field!r}.")
    return values


def _utterances(corpus: Corpus, split: str) -> Iterator[Utterance]:
    for speaker in corpus.speakers(split):
        yield from corpus.utterances(split, speaker)


def _transcribe(
    model: Recogniser,
    examples: Sequence[Example],
    limit: BatchLimit,
    kept: KeptBatches | None,
    on_batch: OnBatch,
) -> tuple[float, list[str]]:
    """Return the mean loss and the transcripts; batches have utterances of similar length."""
    total, counted, done = 0.0, 0, 0
    hypotheses = [""] * len(examples)
    lengths = [len(example.features) for example in examples]
    for indices in limit.batches(lengths, model.front_end.hop_seconds):
        found = _of_batch(model, [examples[index] for index in indices], kept)
        total += float(found.losses.sum())
        counted += found.counted
        for index, text in zip(indices, found.texts, strict=True):
            hypotheses[index] = text
        done += len(indices)
        on_batch(done, len(examples))
    return total / max(counted, 1), hypotheses


def _of_batch(model: Recogniser, examples: Sequence[Example], kept: KeptBatches | None) -> BatchEvaluation:
    ids = [example.id for example in examples]
    if kept is not None and (found := kept.find(ids)) is not None:
        return found
    found = model.evaluate(collate(examples))
    if kept is not None:
        kept.add(ids, found)
    return found
