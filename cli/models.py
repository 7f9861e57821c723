"""The model of a command: a model file, or a pre-trained model as it was published; and how it decodes."""

from __future__ import annotations

from pathlib import Path

from base.model_choices import Window
from server.storage.ancestry import LINEAGE
from speech.decoding import BeamConfig
from speech.errors import ModelError
from speech.export.description import ORIGIN
from speech.model import adapted_file
from speech.model.checkpoint import LoadedModel, load_model
from speech.model.choice import ModelChoice
from speech.model.recogniser import Recogniser
from speech.pretrained.folder import CONFIG, ModelFolder
from speech.pretrained.store import in_store
from speech.text import ENGLISH, Alphabet, alphabet_of

MODEL_HELP = "Or a model file, or an untouched pre-trained model: its folder, or its name in the store."
WINDOW_HELP = "Whisper: padded or short, instead of the window that the model was trained with."
BASE_HELP = "Where the pre-trained model is that the file was made of; by default where its name says."


def open_model(
    path: Path,
    *,
    base_model: Path | None = None,
    language: str | Alphabet | None = None,
    window: Window | None = None,
) -> LoadedModel:
    """Open a model file, or an untouched pre-trained model.

    Args:
        path: The file, the folder of a pre-trained model, or its name in the store.
        base_model: Where the pre-trained model is that a file was made of; by default where its name says.
        language: The characters that the model must have. An untouched model has none of its own: error rates
            are counted in these, or in those of English.
        window: Instead of the window that the model was trained with.

    Raises:
        SpeechError: If it cannot be opened, or has no window of fixed length and one is given.
    """
    if is_untouched(path):
        loaded = _untouched(path, ENGLISH if language is None else alphabet_of(language), window)
    else:
        loaded = load_model(path, language=language, folder=base_model, window=window)
    if window and not loaded.model.window_seconds:
        raise ModelError(
            f"--window {window}: {path} has no window of fixed length, as Whisper has; leave --window out."
        )
    return loaded


def _untouched(path: Path, alphabet: Alphabet, window: Window | None) -> LoadedModel:
    name = str(path.absolute()) if path.is_dir() else str(path)
    choice = ModelChoice(name=name, window=window or "padded")
    model = choice.make(alphabet)
    metadata = adapted_file.metadata(model) | _origin(choice.model_folder)
    return LoadedModel(model=model.eval(), preset=name, metadata=metadata)


def _origin(folder: ModelFolder) -> dict[str, str]:
    """What a folder that was exported from a federation says of it, as model files do."""
    return {name: folder.exported[name] for name in ("privacy", *ORIGIN) if LINEAGE in folder.exported}


def is_untouched(path: Path) -> bool:
    """Whether a path is the folder of a pre-trained model, or its name in the store."""
    if path.exists():
        return (path / CONFIG).is_file()
    return in_store(str(path))


def decode_by(
    model: Recogniser,
    *,
    beam: int | None,
    lm: Path | None,
    lm_weight: float | None = None,
    word_bonus: float | None = None,
) -> None:
    """Let a model decode as the options say: greedily if there is neither `beam` nor `lm`.

    Raises:
        SpeechError: If it cannot be decoded in this way.
        ValueError: For a value outside its range.
    """
    if beam is None and lm is None:
        return
    config = BeamConfig(
        beam=BeamConfig.beam if beam is None else beam,
        lm_weight=BeamConfig.lm_weight if lm_weight is None else lm_weight,
        word_bonus=BeamConfig.word_bonus if word_bonus is None else word_bonus,
    )
    model.decode_by(config, lm)
