"""`murmur evaluate`: error rates of a model on a split of a corpus, alone or compared with another model."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer
from rich.console import Console

from base.model_choices import Window
from cli.composing import config_of_run
from cli.corpus.options import place_here
from cli.evaluate.choice import Choice
from cli.evaluate.result import Result, Speech
from cli.evaluate.training_overlap import caution
from cli.exits import REFUSED
from cli.models import BASE_HELP, MODEL_HELP, WINDOW_HELP, is_untouched, open_model
from cli.progress import progress_bar
from cli.transcribe import model_path
from privacy import PrivacyError
from recipes import ConfigError, corpus_path, existing_run
from server.errors import ResumeRefused
from speech.corpora.loading import load_corpus
from speech.data.examples import ExampleStore
from speech.decoding import BeamConfig
from speech.errors import SpeechError
from speech.evaluation.normalisers import CHARACTERS, NormaliserName, needs_written
from speech.model.checkpoint import LoadedModel

if TYPE_CHECKING:
    from speech.evaluation.assessment import Comparison

BATCH_SIZE = 32


def evaluate(
    of: Annotated[Path | None, typer.Argument(metavar="MODEL", help="The same as --model.")] = None,
    run: Annotated[Path | None, typer.Option("--run", "-r", help="A run folder: its final model.")] = None,
    model: Annotated[Path | None, typer.Option("--model", help=MODEL_HELP)] = None,
    base_model: Annotated[Path | None, typer.Option(help=BASE_HELP)] = None,
    language: Annotated[
        str | None, typer.Option(help="Code of the corpus' language, for an untouched pre-trained model.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--corpus-kind", "--kind", help="Kind of corpus; by default the run's.")
    ] = None,
    path: Annotated[
        Path | None,
        typer.Option("--corpus-path", "--path", help="Where the corpus lies; by default the run's."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="The split; by default the run's held-out one, or test.")
    ] = None,
    against: Annotated[Path | None, typer.Option(help="Compare with this model or run folder.")] = None,
    by: Annotated[
        str | None, typer.Option(help="Show rates by the values of this field of the corpus too.")
    ] = None,
    normaliser: Annotated[
        NormaliserName | None, typer.Option(help="What is compared; by default the run's, or characters.")
    ] = None,
    beam: Annotated[
        int | None,
        typer.Option(min=1, help=f"Beam search of this width ({BeamConfig.beam} with --lm); else greedy."),
    ] = None,
    lm: Annotated[Path | None, typer.Option(help="A language model (ARPA), for CTC models.")] = None,
    window: Annotated[Window | None, typer.Option(help=f"{WINDOW_HELP} Not of --against.")] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda ...; by default a GPU if there is one.")
    ] = None,
    batch_seconds: Annotated[
        float, typer.Option(min=0.0, help=f"Seconds of audio in a batch; 0: {BATCH_SIZE} utterances.")
    ] = 0.0,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst utterances to show.")] = 5,
    on_training_speech: Annotated[
        bool, typer.Option("--on-training-speech", help="Evaluate on speakers that a private run trained on.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    sound: Annotated[
        bool,
        typer.Option(
            "--sound", help="Put the recordings of the worst utterances into the JSON, for a report."
        ),
    ] = False,
) -> None:
    """Measure error rates, with intervals and by speaker, and show the worst utterances word by word."""
    from cli.evaluate import screen as evaluation_screen
    from speech.evaluation.assessment import Comparison

    if sound and not as_json:
        raise typer.BadParameter("--sound is a part of the JSON: give --json too")
    try:
        files = [model_path(run, _one(of, model)), *([_other(against)] if against else [])]
        models = _loaded(files, base_model, language, window)
        choice = Choice(beam=beam, lm=lm, device=device, batch_seconds=batch_seconds, by=by)
        speech = _speech(files[0] if run else None, models[0], kind, path, split, by, normaliser)
        warnings = _cautions(files, models, speech, on_training_speech)
        mine, *others = [measure(*pair, speech, choice) for pair in zip(files, models, strict=True)]
        sounds = _sounds(speech, mine, worst) if sound else {}
    except (SpeechError, ConfigError, PrivacyError, ResumeRefused) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(REFUSED) from None
    comparison = Comparison(ours=mine.assessment, theirs=others[0].assessment) if others else None
    if as_json:
        typer.echo(
            json.dumps(
                answer(speech, mine, others, comparison, worst, warnings, choice, sounds), allow_nan=False
            )
        )
        return
    for warning in warnings:
        Console(stderr=True).print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
    evaluation_screen.show(Console(highlight=False), speech, mine, others, comparison, worst, choice)


def measure(file: Path, loaded: LoadedModel, speech: Speech, choice: Choice) -> Result:
    """Evaluate the model of a file. Raises `SpeechError` for a split without usable audio."""
    from speech.evaluation.evaluation import assess, values_of, written_of
    from speech.evaluation.evaluation import evaluate as evaluate_model
    from speech.evaluation.normalisers import needs_written

    values = values_of(choice.by, speech.corpus, speech.split) if choice.by else None
    choice.prepare(loaded.model)
    store = ExampleStore(speech.corpus, loaded.features, tokeniser=loaded.model.tokeniser)
    started = time.perf_counter()
    with progress_bar(f"features of {speech.split}") as bar:
        examples = store.split_examples(speech.split, on_features=bar)
    featured = time.perf_counter()
    if not examples:
        raise SpeechError(
            f"{speech.corpus.name}: no utterance of split {speech.split!r} has usable audio; "
            f"the first: {store.skipped[0].reason}"
        )
    with progress_bar(f"utterances, {file.name}", len(examples)) as bar:
        evaluation = evaluate_model(
            loaded.model,
            examples,
            BATCH_SIZE,
            batch_seconds=choice.batch_seconds,
            normaliser=speech.normaliser,
            written=written_of(speech.corpus, speech.split) if needs_written(speech.normaliser) else None,
            on_batch=bar,
        )
    done = time.perf_counter()
    assessment = assess(evaluation, speech.corpus, speech.split)
    return Result(
        path=file,
        loaded=loaded,
        assessment=assessment,
        audio_seconds=store.audio_seconds(speech.split, examples),
        feature_seconds=featured - started,
        model_seconds=done - featured,
        skipped=len(store.skipped),
        groups={} if values is None else assessment.by(values),
    )


def answer(
    speech: Speech,
    mine: Result,
    others: Sequence[Result],
    comparison: Comparison | None,
    worst: int,
    warnings: Sequence[str],
    choice: Choice,
    sounds: Mapping[str, str],
) -> dict[str, Any]:
    """Everything in plain values, fit for JSON; `sounds` of utterances, by their ids."""
    by_other = {one.id: one.hypothesis for one in others[0].assessment.utterances} if others else {}
    found: dict[str, Any] = {
        "corpus": speech.corpus.name,
        "split": speech.split,
        "hours": mine.audio_seconds / 3600,
        "decoding": choice.decoding,
        **_plain(mine),
        "by_speaker": {
            one.speaker: {
                "wer": one.words.rate if one.words.reference_length else None,
                "words": one.words.reference_length,
            }
            for one in mine.assessment.speakers
        },
        "worst_utterances": [
            {
                "id": result.id,
                "speaker": result.speaker,
                "errors": result.words.errors,
                "reference": result.reference,
                "hypothesis": result.hypothesis,
                **({"hypothesis_against": by_other[result.id]} if others else {}),
                **({"sound": sounds[result.id]} if result.id in sounds else {}),
            }
            for result in mine.assessment.worst_utterances(worst)
        ],
        "warnings": list(warnings),
    }
    if choice.by:
        found["by"] = {
            "field": choice.by,
            "values": {value: one.summary() for value, one in mine.groups.items()},
        }
    if comparison is not None:
        found["against"] = {**_plain(others[0]), **comparison.summary()}
    return found


def _sounds(speech: Speech, mine: Result, worst: int) -> dict[str, str]:
    """The recordings of the worst utterances by their ids."""
    from cli.evaluate.sound import sound_of

    return {
        one.id: sound_of(speech.corpus, speech.split, one.speaker, one.id)
        for one in mine.assessment.worst_utterances(worst)
    }


def _plain(result: Result) -> dict[str, Any]:
    return {
        "model": str(result.path),
        **({"run": result.loaded.metadata["run"]} if result.loaded.metadata.get("run") else {}),
        "preset": result.loaded.preset,
        **({"window": result.window} if result.window else {}),
        **result.assessment.summary(),
        "real_time_factor": result.real_time_factor,
        "threads": torch.get_num_threads(),
        "skipped": result.skipped,
    }


def _one(argument: Path | None, option: Path | None) -> Path | None:
    if argument and option:
        raise typer.BadParameter("the model is given twice: as MODEL and as --model; leave one out")
    return argument or option


def _loaded(
    files: Sequence[Path], base_model: Path | None, language: str | None, window: Window | None
) -> list[LoadedModel]:
    """The models, of one language; the first with the window that was chosen."""
    first = open_model(files[0], base_model=base_model, language=language, window=window)
    others = [open_model(file, base_model=base_model, language=first.alphabet) for file in files[1:]]
    return [first, *others]


def _speech(
    of_run: Path | None,
    loaded: LoadedModel,
    kind: str | None,
    path: Path | None,
    split: str | None,
    by: str | None,
    normaliser: str | None,
) -> Speech:
    """The corpus that was asked for; what was not said is that of the run, or the shipped one."""
    section = config_of_run(of_run.parent).corpus if of_run else None
    rules = section.rules if section else {"language": loaded.alphabet}
    if section and kind is None and path is None:
        kind, place, split = (
            section.kind,
            corpus_path(section.kind, section.path),
            split or section.test_split,
        )
    else:
        kind = kind or ("manifest" if path else "embedded")  # a path alone is a manifest's
        place = place_here(kind, path)
    normaliser = normaliser or (section.normaliser if section else CHARACTERS)
    speech = Speech(
        corpus=load_corpus(
            kind,
            place,
            **rules,
            keep_fields=(by,) if by else (),
            keep_written=needs_written(normaliser),
        ),
        split=split or "test",
        place=place,
        normaliser=normaliser,
    )
    speech.corpus.speakers(speech.split)  # raises if there is no such split
    return speech


def _other(path: Path) -> Path:
    """A model, or that of a run folder; relative ones count as those of `model_path` do."""
    if is_untouched(path):
        return path
    found = existing_run(path)
    return found if found.is_file() else model_path(path, None)


def _cautions(
    files: Sequence[Path], models: Sequence[LoadedModel], speech: Speech, allowed: bool
) -> list[str]:
    """Warnings where a private run trained on these speakers. Raises `ConfigError` unless allowed."""
    pairs = zip(files, models, strict=True)
    found = [
        c for file, loaded in pairs if (c := caution(file, loaded, speech.corpus, speech.split, speech.place))
    ]
    for one in found:
        if one.certain and not allowed:
            raise ConfigError(f"{one.text} If you may evaluate on these speakers, add --on-training-speech.")
    return [one.text for one in found]
