"""`murmur transcribe`: what was said in sound files, by the final model of a run or any model file."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import soundfile
import typer

from base.model_choices import Window
from cli.exits import FAILED, REFUSED
from cli.models import BASE_HELP, MODEL_HELP, WINDOW_HELP, decode_by, open_model
from cli.outputs import is_among, require_folder
from cli.progress import Bar, progress_bar
from recipes import existing_run
from speech.decoding import BeamConfig
from speech.errors import AudioError, CheckpointMismatch
from speech.transcription.output_formats import FORMATS, SUFFIXES, Transcript, ctm_name
from speech.transcription.transcriber import Transcriber

FINAL_MODEL = "model.safetensors"
SOUND_SUFFIXES = {
    f".{name.lower()}" for name in (*soundfile.available_formats(), "aif", "oga", "opus", "m4a")
}
Format = Literal["text", "json", "srt", "ctm"]


def transcribe(
    files: Annotated[list[Path], typer.Argument(help="Sound files of any length: WAV, FLAC, Ogg, MP3 ...")],
    run: Annotated[
        Path | None, typer.Option("--run", "-r", help="A run folder; its final model is used.")
    ] = None,
    model: Annotated[Path | None, typer.Option("--model", help=MODEL_HELP)] = None,
    base_model: Annotated[Path | None, typer.Option(help=BASE_HELP)] = None,
    format: Annotated[Format, typer.Option("--format", "-f", help="What to write.")] = "text",
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            help="A file; or a folder (one that is there, or a name that ends with /), for a file of its own "
            "for each recording.",
        ),
    ] = None,
    window: Annotated[Window | None, typer.Option(help=WINDOW_HELP)] = None,
    beam: Annotated[
        int | None,
        typer.Option(min=1, help=f"Beam search of this width ({BeamConfig.beam} with --lm); else greedy."),
    ] = None,
    lm: Annotated[
        Path | None, typer.Option(help="A language model of characters or words (ARPA); see `murmur lm`.")
    ] = None,
    lm_weight: Annotated[
        float | None, typer.Option(min=0.0, help=f"The language model's weight ({BeamConfig.lm_weight}).")
    ] = None,
    word_bonus: Annotated[
        float | None, typer.Option(help=f"Added to the score for each word ({BeamConfig.word_bonus}).")
    ] = None,
) -> None:
    """Write what was said in each file, and when; a file that cannot be read costs no other."""
    if lm_weight is not None and lm is None:
        raise typer.BadParameter("--lm-weight needs a language model: give --lm too")
    if word_bonus is not None and beam is None and lm is None:
        raise typer.BadParameter("--word-bonus needs a beam search: give --beam or --lm too")
    place = _place(out)
    _check_names(files, format, place)
    course = _Course(files)
    try:
        loaded = open_model(model_path(run, model), base_model=base_model, window=window)
        decode_by(loaded.model, beam=beam, lm=lm, lm_weight=lm_weight, word_bonus=word_bonus)
        transcriber = Transcriber(loaded, on_seconds=course)
    except ValueError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(REFUSED) from None
    if not transcriber.word_times and format != "text":
        typer.echo(
            "note: this model has no word times; each phrase's time is spread over its words", err=True
        )
    with course.shown():
        all_read = _write_all(course.files(), transcriber, format, place)
    if not all_read:
        raise typer.Exit(FAILED)


class _Course:
    """How much of all recordings is read, as a bar."""

    def __init__(self, files: list[Path]) -> None:
        self._files, self._before = files, 0.0
        self._bar: Bar | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bar for the time of the block."""
        self._lengths = [_seconds(file) for file in self._files]
        with progress_bar("recordings", sum(self._lengths) or None, unit="share") as self._bar:
            yield

    def files(self) -> Iterator[Path]:
        """Yield the files; the next one is asked for when one is done."""
        for file, seconds in zip(self._files, self._lengths, strict=True):
            yield file
            self._before += seconds
            self(0.0)

    def __call__(self, seconds: float) -> None:
        """Say how many seconds of the present file are read."""
        if self._bar is not None:
            self._bar(self._before + seconds)


def _seconds(file: Path) -> float:
    """The length of a recording as its header states it, for the bar alone; 0 if it does not."""
    try:
        return float(soundfile.info(str(file)).duration) if file.is_file() else 0.0
    except (soundfile.SoundFileError, OSError):
        return 0.0


def _place(out: str | None) -> Path | None:
    """Where --out points; a name that ends with "/" is a folder, and is made."""
    if out is None:
        return None
    if out.endswith("/"):
        try:
            Path(out).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise typer.BadParameter(
                f"--out {out}: this folder cannot be made: {error.strerror}; give another"
            ) from None
    return Path(out)


def _check_names(files: list[Path], format: Format, out: Path | None) -> None:
    """Find out before the work, and not after it, that its results would have no place."""
    into_folder = out is not None and out.is_dir()
    if out is not None and not into_folder:
        require_folder(out)
        _refuse_sound(out, files)
    if format == "srt" and len(files) > 1 and not into_folder:
        raise typer.BadParameter("subtitles of several files need a file each: give --out with a folder")
    if into_folder or format == "ctm":
        name, count = Counter(map(ctm_name, files)).most_common(1)[0]
        if count > 1:
            raise typer.BadParameter(f"{count} files are called {name!r}; give them one at a time")


def _refuse_sound(out: Path, files: list[Path]) -> None:
    """Of `-o *.ogg` a shell makes the first recording the output: it would be lost."""
    if out.suffix.lower() in SOUND_SUFFIXES:
        raise typer.BadParameter(
            f"--out {out} has the name of a sound file, which transcripts must not overwrite; give another "
            "name, or a folder"
        )
    if is_among(out, files):
        raise typer.BadParameter(f"--out {out} is one of the recordings; give another name, or a folder")


def _write_all(files: Iterable[Path], transcriber: Transcriber, format: Format, out: Path | None) -> bool:
    """Transcribe and write; whether all could be read. To a terminal or pipe, text comes file by file."""
    render, transcripts, all_read = FORMATS[format], [], True
    for file in files:
        try:
            transcript = Transcript(path=file, phrases=transcriber(file), word_times=transcriber.word_times)
        except AudioError as error:
            all_read = False
            typer.echo(f"error: {error}", err=True)
            continue
        if out is not None and out.is_dir():
            _write(out / f"{ctm_name(file)}{SUFFIXES[format]}", render([transcript]))
        elif out is None and format != "json":
            typer.echo(render([transcript]), nl=False)
        else:
            transcripts.append(transcript)
    if out is None and format == "json":
        typer.echo(render(transcripts), nl=False)
    elif out is not None and transcripts:
        _write(out, render(transcripts))
    return all_read


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        typer.echo(f"error: {path} cannot be written: {error.strerror}", err=True)
        raise typer.Exit(FAILED) from None


def model_path(run: Path | None, model: Path | None) -> Path:
    """The model file of a run folder, or the one given; exactly one of both must be given.

    A run folder is a path, or a name in the runs folder (`recipes.places.existing_run`).
    """
    if (run is None) == (model is None):
        raise typer.BadParameter("give either --run with a run folder or --model with a model file")
    if model is not None:
        return model
    folder = existing_run(str(run))
    if not folder.is_dir():
        raise CheckpointMismatch(f"{folder}: no such run folder; `murmur run` makes one.")
    if not (folder / FINAL_MODEL).is_file():
        raise CheckpointMismatch(
            f"{folder}: holds no {FINAL_MODEL}; the run has not finished. "
            "Give one of its checkpoints with --model."
        )
    return folder / FINAL_MODEL
