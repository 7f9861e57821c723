"""The speakers that a node registered for a run, in the order of their numbers.

The server draws speakers by number. If a node's corpus changed during a run and the numbers with it, the node
would train speakers that are in no plan and no ledger. So a number stands for the same speaker until the run
ends. Flower keeps this state on the node and never sends it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from flwr.app import ConfigRecord, RecordDict

from base.counts import count_of
from recipes import ConfigError
from wire.records import find_record

RECORD = "registered-speakers"

log = logging.getLogger("murmuration.client")


def keep(state: RecordDict, part: str, speakers: Sequence[str]) -> None:
    """Keep the speakers by number, and the name of the part of a data set that they are."""
    state[RECORD] = ConfigRecord({"part": part, "speakers": list(speakers), "logged": part})


def knows(state: RecordDict, part: str) -> bool:
    """Whether the speakers by number are kept from the registration with `part`."""
    kept = find_record(state, RECORD, ConfigRecord)
    return kept is not None and kept["part"] == part


def called(
    state: RecordDict, part: str, now: str, speakers: Sequence[str], *, some_left: bool = False
) -> Sequence[str]:
    """The speakers by number, as they were at the registration with `part`.

    Args:
        state: Flower's state of the node in this run.
        part: The data set, split and part that the node reported at registration.
        now: Those of the node now.
        speakers: The speakers of that part.
        some_left: Whether speakers of it have left (`client.state.departures`), before registration or since.

    Returns:
        The speakers by number. Some of them may be gone; they are not trained and count as zero.

    Raises:
        ConfigError: If the part has changed and the speakers of the registration are not kept.
    """
    kept = find_record(state, RECORD, ConfigRecord)
    if kept is None or kept["part"] != part:
        if part == now and not some_left:
            return speakers
        raise ConfigError(
            f"this node's speech has changed since registration (it has {len(speakers)} speakers now), "
            "and it no longer knows the speakers that it registered: none of them is trained. Restore the "
            "old speech and node configuration, or start a new run, whose plan counts the present speakers"
        )
    before = [str(name) for name in list(kept["speakers"])]
    if part != now and kept["logged"] != now:
        kept["logged"] = now
        gone, new = set(before) - set(speakers), set(speakers) - set(before)
        log.warning(
            "speech has changed since registration: gone, and counted as zero: %s; new, and not drawn before "
            "a new run: %s",
            count_of(len(gone), "speaker"),
            count_of(len(new), "speaker"),
        )
    return before
