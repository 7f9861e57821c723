"""The model that a node trains: made from the run's settings, with its own copy of what is not trained."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from base.learning_settings import LearningSettings
from optim.trainable import freeze
from recipes.model_section import TRAIN_ALL, ModelSection
from recipes.sections import LocalSection
from speech.model.checkpoint import load_weights
from speech.model.choice import ModelChoice
from speech.model.recogniser import Recogniser
from speech.text import Alphabet

log = logging.getLogger("murmuration.client")


def model_to_train(
    section: ModelSection,
    local: LocalSection,
    alphabet: Alphabet,
    *,
    folder: Path | None = None,
    seed: Path | None = None,
    weights: bool = True,
) -> Recogniser:
    """Make the model of a run, in training mode, with what is not trained frozen.

    It does not look at `model.digest`: who calls it has, once, for that reads all of the weights.

    Args:
        section: The run's section `model`.
        local: Its section `local`: dropout and layer drop.
        alphabet: The characters of the corpus.
        folder: Where this node has the pre-trained model, if it names one.
        seed: The seed model's file, if a part of the model stays as there.
        weights: Whether values are needed, and not names and shapes only.

    Raises:
        ModelError: If the model cannot be made here.
        CheckpointMismatch: If the seed is another model's.
    """
    choice = replace(ModelChoice.of(**section.rules), folder=folder)
    model = choice.make(alphabet, weights=weights, dropout=local.dropout, layer_drop=local.layer_drop).train()
    if seed is not None and section.trainable != TRAIN_ALL:
        load_weights(model, seed, choice)
    freeze_untrained(model, section, local)
    return model


def freeze_untrained(
    model: Recogniser, section: ModelSection, settings: LearningSettings, table: str = "local"
) -> None:
    """Freeze what `section` does not train; with `cache-frozen`, let the model start from its stem.

    Args:
        model: The model, with its adapters.
        section: A section `model`.
        settings: Of the training: whether it masks the input.
        table: Where a recipe has them, for warnings.

    Raises:
        ConfigError: If a pattern of `trainable` names no parameter.
    """
    freeze(model, section.trained)
    if section.cache_frozen:
        _start_from_stem(model, settings, table)


def _start_from_stem(model: Recogniser, settings: LearningSettings, table: str) -> None:
    """Let the frozen layers be computed once, unless masks give them another input in every round."""
    if settings.spec_augment and model.augment is not None:
        return log.warning(
            f"model.cache-frozen = true and {table}.spec-augment = true: masks change the input at every "
            f"step, so nothing is kept; set {table}.spec-augment to false"
        )
    if not model.start_from_stem():
        log.warning("model.cache-frozen = true: nothing below what is trained is frozen, so nothing is kept")
