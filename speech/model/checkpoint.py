"""Model files: safetensors files whose metadata hold everything needed to use the model.

Guarantees: a path holds a whole model or what was there before (temporary file, fsync, rename). A file that
loads is the model of its preset, with the characters and the features that the file names. An error names
every difference.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from base.durable_file import replacing
from base.model_choices import Window
from base.registries import MODEL_PRESETS
from speech.errors import CheckpointMismatch, LanguageError, SpeechError
from speech.features.front_end import FrontEnd
from speech.features.log_mel import FeatureConfig
from speech.model import adapted_file
from speech.model.choice import ModelChoice
from speech.model.ctc_transformer import CTCTransformer, build_model
from speech.model.recogniser import Recogniser
from speech.pretrained.base import PretrainedRecogniser
from speech.pretrained.store import is_stored_name
from speech.text import ENGLISH, Alphabet, alphabet_of

FORMAT = "murmuration-model"
VERSION = "1"


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model in evaluation mode, with what its file holds beside the tensors.

    `preset` is the model's name. `metadata` are all of the file, those of `save_model`'s `extra` included.

    Example:
        >>> import murmuration_data
        >>> loaded = load_model(murmuration_data.path("seed/model.safetensors"))
        >>> loaded.preset, loaded.alphabet.language, loaded.features.num_mels
        ('tiny', 'en', 40)
    """

    model: Recogniser
    preset: str
    metadata: Mapping[str, str]

    @property
    def features(self) -> FrontEnd:
        """The input that it was trained on: the preset's, or that of the preset when the file was written."""
        return self.model.front_end

    @property
    def public_name(self) -> str:
        """The model's name for whoever has no access to this machine: of a folder by its path, its family."""
        if isinstance(self.model, PretrainedRecogniser) and not is_stored_name(self.preset):
            return self.model.folder.kind
        return self.preset

    @property
    def transformer(self) -> CTCTransformer:
        """The model, where only our own architecture will do.

        Raises:
            SpeechError: For a pre-trained model.
        """
        if isinstance(self.model, CTCTransformer):
            return self.model
        raise SpeechError(f"{self.preset}: this is possible only for presets of ours, and it is none.")

    @property
    def log_mel(self) -> FeatureConfig:
        """The features of such a model. Raises as `transformer`."""
        features: FeatureConfig = self.transformer.front_end
        return features

    @property
    def alphabet(self) -> Alphabet:
        """The characters of its outputs, or of the corpus that a pre-trained model was adapted to."""
        return self.model.alphabet


def save_model(
    path: str | Path, model: Recogniser, preset: str, extra: Mapping[str, str] | None = None
) -> None:
    """Write `model` to `path`, with `extra` beside our own metadata.

    Of a pre-trained model only what was trained is written, with the digest of the rest.

    Raises:
        ValueError: For an unknown preset, or an `extra` that would replace our metadata.
        CheckpointMismatch: For a model whose tensors are not those of the preset.
    """
    plain = isinstance(model, CTCTransformer) and not adapted_file.is_adapted(model)
    own = _metadata(preset, model.alphabet) if plain else adapted_file.metadata(model)
    own = {"format": FORMAT, "version": VERSION, **own}
    clashes = sorted(own.keys() & (extra or {}).keys())
    if clashes:
        raise ValueError(f"extra metadata {clashes[0]!r} is one of our own keys; rename it.")
    # Parameters may be views into one vector; a name for each is all that the file needs.
    if plain:
        tensors = {name: value.detach().cpu() for name, value in model.state_dict().items()}
        _compare(f"the model to be saved as {preset!r}", _shapes(tensors), preset, model.alphabet)
    else:
        tensors = adapted_file.tensors(model)
    with replacing(Path(path)) as temporary:
        save_file(tensors, temporary, metadata=own | dict(extra or {}))


def load_model(
    path: str | Path,
    *,
    preset: str | None = None,
    language: str | Alphabet | None = None,
    folder: Path | None = None,
    window: Window | None = None,
) -> LoadedModel:
    """Read a model file.

    Args:
        path: The file.
        preset: If given, the preset that the model must have.
        folder: Where the pre-trained model is that the file was made of; by default where its name says.
        language: If given, the alphabet (or the code of a registered language) whose characters the model
            must have. The model then carries that alphabet: the code of the file's language may be another.
        window: Instead of the window that a pre-trained model was trained with.

    Raises:
        CheckpointMismatch: For a file that is missing or none of ours, and for another version, preset,
            other characters, features or tensors. The message names each difference.
    """
    path, alphabet = Path(path), None if language is None else alphabet_of(language)
    with _opened(path) as file:
        metadata = dict(file.metadata() or {})
        _require_format(path, metadata)
        if not adapted_file.is_described(metadata):
            return _read(path, file, preset, alphabet)
        own = _alphabet(path, metadata)
        _require_characters(path, own, alphabet or own)
        choice = adapted_file.choice_of(path, metadata, folder, wanted=preset)
        model = replace(choice, window=window or choice.window).make(alphabet or own)
        adapted_file.copy_tensors_(path, file, model)
        return LoadedModel(model=model.eval(), preset=choice.name, metadata=metadata)


def load_weights(model: Recogniser, path: Path, choice: ModelChoice) -> None:
    """Take the parameters of a model file over into `model`, which `choice` has made.

    Adapters that the file does not have stay as they are.

    Raises:
        CheckpointMismatch: For a file of another model.
    """
    with _opened(path) as file:
        metadata = dict(file.metadata() or {})
        _require_format(path, metadata)
        if adapted_file.is_described(metadata):
            adapted_file.choice_of(path, metadata, choice.folder, wanted=choice.name)
            return adapted_file.copy_tensors_(path, file, model)
    seed = load_model(path, preset=choice.name, language=model.alphabet).model
    model.load_state_dict(seed.state_dict(), strict=False)


def read_metadata(path: str | Path) -> Mapping[str, str]:
    """Read all metadata of a model file, without its tensors.

    Raises:
        CheckpointMismatch: For a file that is missing or no safetensors file.
    """
    with _opened(Path(path)) as file:
        return dict(file.metadata() or {})


def tensor_names(path: str | Path) -> tuple[str, ...]:
    """Return the names of the tensors in a model file: of a pre-trained model, what was trained.

    Raises:
        CheckpointMismatch: For a file that is missing or no safetensors file.
    """
    with _opened(Path(path)) as file:
        return tuple(file.keys())


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise CheckpointMismatch(f"{path}: no such model file; `murmur pretrain` makes one.")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CheckpointMismatch(
            f"{path}: not a readable safetensors file ({error}); give a model that murmur saved."
        ) from None


def _read(path: Path, file: Any, wanted: str | None, wanted_alphabet: Alphabet | None) -> LoadedModel:
    metadata = file.metadata() or {}
    preset = _check_metadata(path, metadata, wanted)
    alphabet = _alphabet(path, metadata)
    _require_characters(path, alphabet, wanted_alphabet or alphabet)
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
    shapes = {name: tuple(one.get_shape()) for name, one in slices.items()}
    _compare(str(path), shapes, preset, alphabet)
    _require_floats(path, {name: one.get_dtype() for name, one in slices.items()})
    with torch.device("meta"):
        model = build_model(preset, wanted_alphabet or alphabet)
    model.load_state_dict({name: file.get_tensor(name).clone() for name in shapes}, assign=True)
    model.front_end = _known_features(preset)[metadata["features"]]
    return LoadedModel(model=model.eval(), preset=preset, metadata=metadata)


def _require_floats(path: Path, dtypes: Mapping[str, str]) -> None:
    """Refuse numbers of another type than float32: no model here computes with them."""
    for name, dtype in dtypes.items():
        if dtype != "F32":
            raise CheckpointMismatch(
                f"{path}: {name!r} holds numbers of type {dtype} and not F32; give a model that murmur saved."
            )


def _alphabet(path: Path, metadata: Mapping[str, str]) -> Alphabet:
    """The alphabet that the file holds; the oldest files are English and hold no code."""
    try:
        return Alphabet(metadata.get("language", ENGLISH.language), metadata.get("characters", ""))
    except LanguageError as error:
        raise CheckpointMismatch(f"{path}: {error} Use the release that wrote it.") from None


def _require_characters(path: Path, alphabet: Alphabet, wanted: Alphabet) -> None:
    """Refuse a model of other characters, naming them."""
    difference = wanted.difference(alphabet)
    if difference:
        raise CheckpointMismatch(
            f"{path}: a model of language {alphabet.language!r}, and the corpus is in {wanted.language!r}: "
            f"the model {difference}; change the language of the corpus, or give another model."
        )


def _metadata(preset: str, alphabet: Alphabet) -> dict[str, str]:
    """Our own part of the metadata."""
    return {
        "preset": preset,
        "language": alphabet.language,
        "characters": alphabet.characters,
        "features": next(iter(_known_features(preset))),
    }


def _known_features(preset: str) -> dict[str, FeatureConfig]:
    """As files write them: the features of the preset, then those that it had in earlier releases."""
    found = MODEL_PRESETS[preset]
    known = (found.features, *found.earlier_features)
    return {json.dumps(config.written(), sort_keys=True): config for config in known}


def _require_format(path: Path, metadata: Mapping[str, str]) -> None:
    """Refuse a file that is none of ours, or of another version."""
    if metadata.get("format") != FORMAT:
        raise CheckpointMismatch(
            f"{path}: a safetensors file, but none that murmur saved "
            f"(format {metadata.get('format')!r}); give a model that murmur saved."
        )
    if metadata.get("version") != VERSION:
        raise CheckpointMismatch(
            f"{path}: format version {metadata.get('version')!r}, this code reads {VERSION!r}; "
            "use the release that wrote it, or train it again."
        )


def _check_metadata(path: Path, metadata: Mapping[str, str], wanted: str | None) -> str:
    """Return the preset of the file. Refuse metadata that do not fit this code."""
    preset = metadata.get("preset", "")
    if preset not in MODEL_PRESETS or (wanted is not None and preset != wanted):
        known = wanted or " or ".join(MODEL_PRESETS)
        raise CheckpointMismatch(
            f"{path}: a model of preset {preset!r}, {known} is needed; "
            "change the preset of the recipe, or give another model."
        )
    features = _known_features(preset)
    if metadata.get("features") not in features:
        raise CheckpointMismatch(
            f"{path}: its features are {metadata.get('features')}, this code's are {next(iter(features))}; "
            "use the release that wrote it, or train it again."
        )
    return preset


def _compare(where: str, shapes: Mapping[str, tuple[int, ...]], preset: str, alphabet: Alphabet) -> None:
    """Refuse tensors that are not those of the preset, naming the first difference of each kind."""
    expected = _shapes_of(preset, alphabet)
    differences = [
        f"{len(names)} {what}, the first {sorted(names)[0]!r}"
        for what, names in (
            ("tensors missing", expected.keys() - shapes.keys()),
            ("tensors too many", shapes.keys() - expected.keys()),
        )
        if names
    ]
    differences += [
        f"{name!r} has shape {list(shapes[name])} and not {list(shape)}"
        for name, shape in expected.items()
        if name in shapes and shapes[name] != shape
    ][:1]
    if differences:
        raise CheckpointMismatch(
            f"{where}: not a model of preset {preset!r} ({'; '.join(differences)}); "
            "name the preset that it was made with."
        )


@lru_cache
def _shapes_of(preset: str, alphabet: Alphabet) -> Mapping[str, tuple[int, ...]]:
    with torch.device("meta"):
        return _shapes(build_model(preset, alphabet).state_dict())


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
