"""The weights that the runs of a seed start from: random ones, or the embedded seed grown to more blocks.

A model from random weights learns next to nothing in the rounds of a small study. A grown one computes at
first what the embedded seed computes, to the bit: in each further block the matrices that add to its input
are zero. LAMB's trust ratio of a matrix of zeros is 1, so its first step is long beside those of others.
"""

from __future__ import annotations

from pathlib import Path

import torch

from cli.composing import default_config
from cli.paper.small.experiments import BASE, EMBEDDED, GROWN, PRESET, Cell
from recipes import RunConfig
from recipes.model_section import RANDOM, ModelSection
from server.factory import starting_model
from speech.model.checkpoint import save_model
from speech.model.recogniser import Recogniser

ADDING = ("wo.weight", "w2.weight")  # of a block: what attention adds, and what the MLP adds


def start_weights(cell: Cell, seed: int, prepared: Path) -> Path | None:
    """Write the start weights of a cell and a seed, unless they are there.

    Returns:
        Their file; None for the embedded seed itself, and for the weights of a pre-trained model.
    """
    if cell.start in (EMBEDDED, BASE):
        return None
    file = prepared / f"{cell.start}-{cell.preset}-{seed}.safetensors"
    if not file.is_file():
        model = starting_model(_section(cell.preset, RANDOM), "en", random_seed=seed)
        if cell.start == GROWN:
            grow(model)
        save_model(file, model, cell.preset)
    return file


def grow(model: Recogniser) -> None:
    """Give `model` the weights of the embedded seed, and let all blocks beyond its own add nothing."""
    seed = dict(starting_model(_section("tiny", EMBEDDED), "en").named_parameters())
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if name in seed:
                weights.copy_(seed[name])
            elif name.endswith(ADDING):
                weights.zero_()


def _section(preset: str, seed: str) -> ModelSection:
    return RunConfig.from_flat({**default_config(), PRESET: preset, "model.seed": seed}).model
