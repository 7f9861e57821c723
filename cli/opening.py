"""Opening of a model to use it: a model file, or a pre-trained model as it is; and how it decodes."""

from pathlib import Path

from speech.decoding import BeamConfig
from speech.model.checkpoint import LoadedModel, load_model
from speech.model.choice import ModelChoice
from speech.model.recogniser import Recogniser
from speech.pretrained.folder import CONFIG
from speech.pretrained.store import is_stored_name, stored_path
from speech.text import ENGLISH, Alphabet


def open_model(place: Path, language: Alphabet | None = None) -> LoadedModel:
    """Open a model file; or, untouched, a pre-trained model by its folder or its name in the store.

    Args:
        place: The file, the folder, or the name (owner/model).
        language: The characters of the corpus. A model file must have them.

    Raises:
        SpeechError: If there is no such model, or it cannot be used.
    """
    name = pretrained_name(place)
    if name is None:
        return load_model(place, language=language)
    model = ModelChoice(name=name).make(language or ENGLISH)
    return LoadedModel(model=model.eval(), preset=name, metadata={})


def pretrained_name(place: Path) -> str | None:
    """Return the name of the pre-trained model that a place is; None for anything else."""
    if (place / CONFIG).is_file():
        return str(place.resolve())
    if not place.exists() and is_stored_name(str(place)) and stored_path(str(place)).is_dir():
        return str(place)
    return None


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
