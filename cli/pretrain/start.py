"""What `murmur pretrain` starts from: the recipe's model, or the one that `--from` names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.training.model import freeze_untrained
from recipes import ConfigError, resolve, seed_model
from recipes.model_section import ADAPTERS, BASE, ModelSection
from server.factory import SEEDS_WITHOUT_WEIGHTS, starting_model
from speech.model import adapted_file
from speech.model.checkpoint import read_metadata
from speech.model.checks import require_sound
from speech.model.choice import ModelChoice
from speech.pretrained.store import is_stored_name
from speech.pretraining import PretrainConfig, Start

if TYPE_CHECKING:
    from speech.model.recogniser import Recogniser
    from speech.text import Alphabet

ADAPTER_KEYS = {f"adapter-{name}": name for name in ("rank", "alpha", "train", "seed")}


@dataclass(frozen=True, kw_only=True)
class Given:
    """Settings of the section `model` from the command line.

    `fixed` replace those of the recipe; `defaults` apply where it says nothing.
    """

    fixed: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)


def given_by(named: str) -> Given:
    """Return the settings that `--from` stands for.

    Args:
        named: A model file of ours, a folder in Hugging Face's layout, or a name of the store.

    Raises:
        ConfigError: If it is none of them.
        CheckpointMismatch: For a file that murmur did not save.
    """
    path = resolve(named)
    if path.is_file():
        return Given(fixed={"seed": str(path)}, defaults=_of_file(path))
    if path.is_dir():
        return Given(fixed={"name": str(path), "seed": BASE})
    if is_stored_name(named):
        return Given(fixed={"name": named, "seed": BASE})
    raise ConfigError(
        f"--from {named}: no model file, no folder, and no name of the store (owner/model): "
        "`murmur model list` shows what is there"
    )


def start_of(section: ModelSection, config: PretrainConfig, longest_seconds: float) -> Start:
    """Return how the model of a recipe is made. It can be sent to other processes.

    Args:
        section: The table [model].
        config: The table [pretrain].
        longest_seconds: The longest utterance of the corpus.

    Raises:
        ModelError: If there is no such pre-trained model here.
        OSError: If the seed cannot be read.
    """
    identity = {f"model.{key}": value for key, value in section.model_dump(by_alias=True).items()}
    if not section.is_preset:
        identity["base model"] = ModelChoice.of(**section.rules).model_folder.digest
    if section.seed not in SEEDS_WITHOUT_WEIGHTS:
        identity["seed model"] = hashlib.sha256(seed_model(section.seed).read_bytes()).hexdigest()
    return Start(make=partial(_made, section, config, longest_seconds), identity=identity)


def _made(
    section: ModelSection, config: PretrainConfig, longest_seconds: float, alphabet: Alphabet
) -> Recogniser:
    """Make the model, with the checks that a run makes before its first round."""
    model = starting_model(
        section,
        alphabet,
        random_seed=config.random_seed,
        dropout=config.dropout,
        layer_drop=config.layer_drop,
    )
    freeze_untrained(model, section, config, "pretrain")
    require_sound(model, trainable=section.trainable, longest_seconds=longest_seconds)
    return model


def _of_file(path: Path) -> dict[str, Any]:
    """What a model file says of its model: of a plain one its preset, else all that was chosen."""
    metadata = read_metadata(path)
    if not adapted_file.is_described(metadata):
        return {"name": metadata.get("preset", "")}
    choice = json.loads(metadata[adapted_file.MODEL])
    found = {key: choice[key] for key in ("name", "window", "head")}
    if adapters := choice["adapters"]:
        found |= {"adapters": adapters["layers"], "trainable": ADAPTERS}
        found |= {key: adapters[name] for key, name in ADAPTER_KEYS.items()}
    return found
