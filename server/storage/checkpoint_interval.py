"""How many rounds lie between two checkpoints if the recipe does not set it: a rule on the bytes written.

A crash loses the rounds since the newest checkpoint: they are released and stay spent, and are made again. So
a run writes a checkpoint after every round, as long as all its checkpoints together stay within
`WRITTEN_BYTES`. Larger models have rarer checkpoints, but never rarer than every `MOST_ROUNDS` rounds.
"""

from __future__ import annotations

AUTOMATIC = 0  # the value of run.checkpoint-every that selects this rule
WRITTEN_BYTES = 200 * 10**9
MOST_ROUNDS = 20


def rounds_between(chosen: int, checkpoint_bytes: int, rounds: int) -> int:
    """Return the number of rounds from one checkpoint to the next.

    Args:
        chosen: The value in the recipe; `AUTOMATIC` selects the rule.
        checkpoint_bytes: Bytes written for one checkpoint: the strategy's state, and the model beside it.
        rounds: Rounds of the whole run, so that a resumed run has the same interval.
    """
    if chosen != AUTOMATIC:
        return chosen
    return max(1, min(MOST_ROUNDS, -(-rounds * checkpoint_bytes // WRITTEN_BYTES)))
