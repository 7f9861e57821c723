"""Runs a federation for Flower: from the run configuration to the end, or to one clear error message."""

from __future__ import annotations

import errno
import logging

import torch
from flwr.app import Context
from flwr.serverapp import Grid
from safetensors import SafetensorError

from privacy import PrivacyError
from recipes import ConfigError, RunConfig, runs_folder
from server.errors import RegistrationError, ResumeRefused
from server.federation import run_federation
from server.node_changes import RepliesRefused, TooFewAnswers
from speech.errors import SpeechError

FAULTS = (
    *(ConfigError, SpeechError, RegistrationError, ResumeRefused, PrivacyError),
    *(TooFewAnswers, RepliesRefused),
)

NO_ROOM = {errno.ENOSPC: "(os error 28)", errno.EDQUOT: "(os error 122)"}  # the texts of safetensors

# The server evaluates while the nodes of a simulation train: with one thread each they do not share cores.
torch.set_num_threads(1)


def serve(grid: Grid, context: Context, workers: int = 0) -> None:
    """Run a federation; an error of `FAULTS`, or a full disk, is printed once and ends the run as failed.

    `workers` is how many a simulation has, if that is known.
    """
    # Our table shows each round; Flower's log at level INFO would repeat it.
    logger = logging.getLogger("flwr")
    logger.setLevel(max(logger.level, logging.WARNING))
    try:
        config = RunConfig.from_flat(context.run_config)
        run_federation(grid, config, run_id=str(context.run_id), workers=workers)
    except FAULTS as error:
        print(f"\nmurmuration: {error}\n", flush=True)
        raise
    except (OSError, SafetensorError) as error:
        if no_room(error):
            print(f"\nmurmuration: {full_disk(config)}\n", flush=True)
        raise


def no_room(error: OSError | SafetensorError) -> bool:
    """Whether a file could not be written because the disk, or the user's quota, is full."""
    if isinstance(error, OSError):
        return error.errno in NO_ROOM
    return any(words in str(error) for words in NO_ROOM.values())


def full_disk(config: RunConfig) -> str:
    """Return the message for a full disk: the run ends, and its files keep what was spent and released."""
    return (
        f"run.folder = {str(runs_folder(config.run.folder))!r}: the disk is full. Nothing was released that "
        'is not in the ledger. Free some space and continue with run.resume = "latest"'
    )
