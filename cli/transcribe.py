"""`murmur transcribe`: what was said in sound files, by the final model of a run or any model file."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from recipes import resolve
from speech.audio import read_audio
from speech.checkpoint import LoadedModel, load_model
from speech.decoding import greedy
from speech.errors import AudioError, CheckpointMismatch
from speech.features import PRESETS, LogMel
from speech.text import alphabet_of

FINAL_MODEL = "model.safetensors"


class Transcriber:
    """A loaded model with the features it was trained on: sound file in, text out."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._model = loaded.model
        self._log_mel = LogMel(PRESETS[loaded.preset])
        self._alphabet = alphabet_of(loaded.model.config.language)

    @torch.inference_mode()
    def __call__(self, path: Path) -> str:
        """The text of one file, of any rate and channel count. Raises `AudioError`."""
        waveform = read_audio(path, sample_rate_hz=self._log_mel.config.sample_rate_hz)
        features = self._log_mel(waveform).unsqueeze(0)
        log_probs, frames = self._model(features, torch.tensor([features.shape[1]]))
        return greedy(log_probs, frames, self._alphabet)[0]


def transcribe(
    files: Annotated[list[Path], typer.Argument(help="Sound files: WAV, FLAC, Ogg, MP3 ...")],
    run: Annotated[
        Path | None, typer.Option("--run", "-r", help="A run folder; its final model is used.")
    ] = None,
    model: Annotated[Path | None, typer.Option("--model", help="Or a model file.")] = None,
) -> None:
    """Print what was said in each file; a file that cannot be read costs no other."""
    try:
        transcriber = Transcriber(load_model(model_path(run, model)))
    except CheckpointMismatch as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(code=1) from None
    failed = False
    for file in files:
        try:
            typer.echo(f"{file}: {transcriber(file)}")
        except AudioError as error:
            failed = True
            typer.echo(f"error: {error}", err=True)
    if failed:
        raise typer.Exit(code=1)


def model_path(run: Path | None, model: Path | None) -> Path:
    """The model file of a run folder, or the one given; exactly one of both must be.

    A relative run folder counts from where one stands, or else from where runs are kept.
    """
    if (run is None) == (model is None):
        raise typer.BadParameter("give either --run with a run folder or --model with a model file")
    if model is not None:
        return model
    folder = run if run is not None and run.is_dir() else resolve(str(run))
    if not folder.is_dir():
        raise CheckpointMismatch(f"{folder}: no such run folder; `murmur run` makes one.")
    if not (folder / FINAL_MODEL).is_file():
        raise CheckpointMismatch(
            f"{folder}: holds no {FINAL_MODEL}; the run has not finished. "
            "Give one of its checkpoints with --model."
        )
    return folder / FINAL_MODEL
