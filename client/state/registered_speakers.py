"""Whom a node answered for at the roll call, kept on the node for the rest of the run.

The server draws speakers by number. Numbers that changed their meaning in mid-run, because a node's speech
was exchanged under it, would train people who are in no plan and no ledger; so a number stays the person's
that it was at the roll call. Flower keeps the state beside the data and never sends it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from flwr.app import ConfigRecord, RecordDict

from recipes import ConfigError
from wire.records import find_record

ROLL = "roll"

log = logging.getLogger("murmuration.client")


def keep(state: RecordDict, dataset: str, speakers: Sequence[str]) -> None:
    """Remember who the numbers are, and in which data set (its digest)."""
    state[ROLL] = ConfigRecord({"dataset": dataset, "speakers": list(speakers), "told": dataset})


def knows(state: RecordDict, dataset: str) -> bool:
    """Whether it is remembered who the numbers were when `dataset` answered the roll call."""
    kept = find_record(state, ROLL, ConfigRecord)
    return kept is not None and kept["dataset"] == dataset


def called(
    state: RecordDict, dataset: str, now: str, speakers: Sequence[str], *, some_left: bool = False
) -> Sequence[str]:
    """The speakers by number as they were when `dataset` answered the roll call.

    `now` is the digest of the data set that is there now and `speakers` its speakers; `some_left` says that
    people of it have left (`client.state.departures`), before the roll call or since. Some of those returned
    may be gone; they are not trained and count as zero.

    Raises:
        ConfigError: If the data set has changed and the node no longer knows who the numbers were.
    """
    if dataset == now and not some_left:
        return speakers
    kept = find_record(state, ROLL, ConfigRecord)
    if kept is None or kept["dataset"] != dataset:
        raise ConfigError(
            f"this node's speech has changed since the roll call (it holds {len(speakers)} speakers now), "
            "and it no longer knows whom it answered for: none of them is trained. Bring the old speech "
            "back, or start a new run, whose plan counts the speakers of now"
        )
    before = [str(name) for name in list(kept["speakers"])]  # type: ignore[arg-type]
    if dataset != now and kept["told"] != now:
        kept["told"] = now
        gone, new = set(before) - set(speakers), set(speakers) - set(before)
        log.warning(
            "speech has changed since the roll call: %d speakers are gone and count as zero, %d are new and "
            "are not drawn before a new run",
            len(gone),
            len(new),
        )
    return before
