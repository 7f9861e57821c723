"""What a model file is: a safetensors file whose metadata say everything needed to use it.

Written atomically (temporary file, fsync, rename): a path holds a whole model or what was there
before. Read with every difference named: a file that loads is the model that its preset says, with
the characters and the features that this code would give it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from base.durable_file import replacing
from speech.errors import CheckpointMismatch
from speech.features import log_mel
from speech.features.log_mel import FeatureConfig
from speech.model.ctc_transformer import PRESETS, CTCTransformer, build_model
from speech.text import ALPHABETS, ENGLISH, alphabet_of

FORMAT = "murmuration-model"
VERSION = "1"


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model in evaluation mode, its preset, the features that it was trained on, and all metadata of its
    file, `extra` included.

    The features are the preset's, or those that the preset had when the file was written.
    """

    model: CTCTransformer
    preset: str
    log_mel: FeatureConfig
    metadata: Mapping[str, str]


def save_model(
    path: str | Path, model: CTCTransformer, preset: str, extra: Mapping[str, str] | None = None
) -> None:
    """Write `model` to `path`, with `extra` beside our own metadata.

    Raises `ValueError` for an unknown preset or an `extra` that would replace our metadata, and
    `CheckpointMismatch` for a model whose tensors are not those of the preset.
    """
    language = model.config.language
    own = _metadata(preset, language)
    clashes = sorted(own.keys() & (extra or {}).keys())
    if clashes:
        raise ValueError(f"extra metadata {clashes[0]!r} is one of our own keys; rename it.")
    # Parameters may be views into one vector; a name for each is all that the file needs.
    tensors = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    _compare(f"the model to be saved as {preset!r}", _shapes(tensors), preset, language)
    with replacing(Path(path)) as temporary:
        save_file(tensors, temporary, metadata=own | dict(extra or {}))


def load_model(path: str | Path, *, preset: str | None = None, language: str | None = None) -> LoadedModel:
    """Read a model; with `preset` or `language`, only of that one.

    Raises `CheckpointMismatch` naming what differs: no such file, no safetensors file or not one of
    ours, another version, preset, language, alphabet or feature configuration, other tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointMismatch(f"{path}: no such model file; `murmur pretrain` makes one.")
    try:
        with safe_open(path, framework="pt") as file:
            return _read(path, file, preset, language)
    except (SafetensorError, OSError) as error:
        raise CheckpointMismatch(
            f"{path}: not a readable safetensors file ({error}); give a model that murmur saved."
        ) from None


def read_metadata(path: str | Path) -> Mapping[str, str]:
    """All metadata of a model file, without its tensors. Raises `CheckpointMismatch` where it is none."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointMismatch(f"{path}: no such model file; `murmur pretrain` makes one.")
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointMismatch(
            f"{path}: not a readable safetensors file ({error}); give a model that murmur saved."
        ) from None


def _read(path: Path, file: Any, wanted: str | None, wanted_language: str | None) -> LoadedModel:
    metadata = file.metadata() or {}
    preset = _check_metadata(path, metadata, wanted)
    language = _language(metadata)
    if wanted_language not in (None, language):
        raise CheckpointMismatch(
            f"{path}: this model writes {language!r}, and {wanted_language!r} is spoken here; "
            "change the language of the corpus, or give another model."
        )
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
    shapes = {name: tuple(one.get_shape()) for name, one in slices.items()}
    _compare(str(path), shapes, preset, language)
    _require_floats(path, {name: one.get_dtype() for name, one in slices.items()})
    with torch.device("meta"):
        model = build_model(preset, language)
    model.load_state_dict({name: file.get_tensor(name).clone() for name in shapes}, assign=True)
    return LoadedModel(
        model=model.eval(),
        preset=preset,
        features=_known_features(preset)[metadata["features"]],
        metadata=metadata,
    )


def _require_floats(path: Path, dtypes: Mapping[str, str]) -> None:
    """Refuse numbers of another type than float32, which no model here computes with."""
    for name, dtype in dtypes.items():
        if dtype != "F32":
            raise CheckpointMismatch(
                f"{path}: {name!r} holds numbers of type {dtype} and not F32; give a model that murmur saved."
            )


def _language(metadata: Mapping[str, str]) -> str:
    """What a model writes; files from before there were languages are English and do not say it."""
    return metadata.get("language", ENGLISH.language)


def _metadata(preset: str, language: str) -> dict[str, str]:
    """Our own part of the metadata."""
    if preset not in PRESETS:
        raise ValueError(f"model preset {preset!r} is not known; known are {', '.join(PRESETS)}.")
    return {
        "format": FORMAT,
        "version": VERSION,
        "preset": preset,
        "language": language,
        "characters": alphabet_of(language).characters,
        "features": next(iter(_known_features(preset))),
    }


def _known_features(preset: str) -> dict[str, FeatureConfig]:
    """By how a file writes them: the features of the preset, then those that it had in earlier releases."""
    known = (log_mel.PRESETS[preset], *log_mel.EARLIER.get(preset, ()))
    return {json.dumps(config.written(), sort_keys=True): config for config in known}


def _check_metadata(path: Path, metadata: Mapping[str, str], wanted: str | None) -> str:
    """The preset of the file, all of whose metadata fit this code."""
    if metadata.get("format") != FORMAT:
        raise CheckpointMismatch(
            f"{path}: a safetensors file, but none that murmur saved "
            f"(format {metadata.get('format')!r}); give a model that murmur saved."
        )
    if metadata.get("version") != VERSION:
        raise CheckpointMismatch(
            f"{path}: format version {metadata.get('version')!r}, this code reads {VERSION!r}; "
            "use the release that wrote it, or train it anew."
        )
    preset = metadata.get("preset", "")
    if preset not in PRESETS or (wanted is not None and preset != wanted):
        known = wanted or " or ".join(PRESETS)
        raise CheckpointMismatch(
            f"{path}: a model of preset {preset!r}, {known} is needed; "
            "change the preset of the recipe, or give another model."
        )
    language = _language(metadata)
    if language not in ALPHABETS:
        raise CheckpointMismatch(
            f"{path}: a model that writes {language!r}, which this code has no alphabet of "
            f"(it has {', '.join(ALPHABETS)}); use the release that wrote it."
        )
    written = {"language": language, **metadata}
    for key, expected in _metadata(preset, language).items():
        earlier = _known_features(preset) if key == "features" else ()
        if written.get(key) != expected and written.get(key) not in earlier:
            raise CheckpointMismatch(
                f"{path}: its {key} are {metadata.get(key)}, this code's are {expected}; "
                "use the release that wrote it, or train it anew."
            )
    return preset


def _compare(where: str, shapes: Mapping[str, tuple[int, ...]], preset: str, language: str) -> None:
    """Refuse tensors that are not those of the preset, naming the first difference of each kind."""
    expected = _shapes_of(preset, language)
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
def _shapes_of(preset: str, language: str) -> Mapping[str, tuple[int, ...]]:
    with torch.device("meta"):
        return _shapes(build_model(preset, language).state_dict())


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
