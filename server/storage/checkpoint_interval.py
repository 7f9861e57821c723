"""How many rounds lie between two checkpoints, where nobody chose: by the bytes that are written.

A crash costs the rounds since the newest checkpoint: they are released and stay spent, and are made anew. So
a run writes one after every round, as long as all of them together stay within `WRITTEN_BYTES`; the
checkpoints of larger models become rarer, but never rarer than every `MOST_ROUNDS` rounds.
"""

from __future__ import annotations

AUTOMATIC = 0  # run.checkpoint-every that leaves it to this rule
WRITTEN_BYTES = 200 * 10**9
MOST_ROUNDS = 20


def rounds_between(chosen: int, checkpoint_bytes: int, rounds: int) -> int:
    """Rounds from one checkpoint to the next.

    Args:
        chosen: What the recipe says; `AUTOMATIC` leaves it to the rule.
        checkpoint_bytes: What is written for one checkpoint: the strategy's state, and the model beside it.
        rounds: Of the whole run, so that a resumed run has the same answer.
    """
    if chosen != AUTOMATIC:
        return chosen
    return max(1, min(MOST_ROUNDS, -(-rounds * checkpoint_bytes // WRITTEN_BYTES)))
