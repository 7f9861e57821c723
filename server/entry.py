"""Serving a federation to Flower: from the run configuration to the end, or to one clear message."""

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

# The server evaluates while nodes of a simulation train: one thread each, no fighting over cores.
torch.set_num_threads(1)


def serve(grid: Grid, context: Context) -> None:
    """Run a federation; a fault of the set-up ends the run as failed, with one clear message."""
    # Our table tells the story; Flower's own round-by-round log would say everything twice.
    logger = logging.getLogger("flwr")
    logger.setLevel(max(logger.level, logging.WARNING))
    try:
        run_federation(grid, RunConfig.from_flat(context.run_config), run_id=str(context.run_id))
    except FAULTS as error:
        print(f"\nmurmuration: {error}\n", flush=True)
        raise
