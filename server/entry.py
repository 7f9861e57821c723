"""Runs a federation for Flower: from the run configuration to the end, or to one clear error message."""

from __future__ import annotations

import logging

import torch
from flwr.app import Context
from flwr.serverapp import Grid

from privacy import PrivacyError
from recipes import ConfigError, RunConfig
from server.errors import RegistrationError, ResumeRefused
from server.federation import run_federation
from server.node_changes import RepliesRefused, TooFewAnswers
from speech.errors import SpeechError

FAULTS = (
    *(ConfigError, SpeechError, RegistrationError, ResumeRefused, PrivacyError),
    *(TooFewAnswers, RepliesRefused),
)

# The server evaluates while the nodes of a simulation train: with one thread each they do not share cores.
torch.set_num_threads(1)


def serve(grid: Grid, context: Context) -> None:
    """Run a federation; an error of `FAULTS` is printed once and ends the run as failed."""
    # Our table shows each round; Flower's log at level INFO would repeat it.
    logger = logging.getLogger("flwr")
    logger.setLevel(max(logger.level, logging.WARNING))
    try:
        run_federation(grid, RunConfig.from_flat(context.run_config), run_id=str(context.run_id))
    except FAULTS as error:
        print(f"\nmurmuration: {error}\n", flush=True)
        raise
