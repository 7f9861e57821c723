"""Clipping inside a local step (`local.clip`) opens no way past the bound on a person's update.

The kinds are those that reach far into a step: ordinary speech, and speech whose loss is no number.
`adaptive-micro` has no other bound in the step; `micro-batch` has one for each utterance.
"""

import pytest

from audit import NEIGHBOURS, check_declared, compare
from tests.audit.stage import DRAWN_IN, ROUNDS, Stage, perform

PARTS = {
    clip: (("local.clip", clip), ("local.micro-batch", 1)) for clip in ("micro-batch", "adaptive-micro")
} | {"per-core": (("local.clip", "per-core"), ("local.clip-cores", 2))}
KINDS = (
    "ordinary speech",
    "a decoder that gives NaN",
    "a decoder that gives infinity",
    "a decoder that gives 1e30",
)


@pytest.mark.parametrize("clip", PARTS)
def test_whatever_a_person_says_moves_the_sum_by_at_most_c_and_nothing_else(clip, tmp_path):
    recorded = perform(Stage(recipe=PARTS[clip]), tmp_path / "nobody")
    for number, kind in enumerate(KINDS):
        stage = Stage(kind=kind, recipe=PARTS[clip])
        replayed = perform(stage, tmp_path / str(number), recorded.trace)
        neighbour = NEIGHBOURS[kind]
        equal = set(ROUNDS) if neighbour.counts_as_zero else set(ROUNDS) - set(DRAWN_IN)
        found = compare(recorded.trace, replayed.trace, neighbour.adjacency, equal)
        found += check_declared(replayed.trace, replayed.plan)
        assert not found, f"{kind}: " + "\n".join(map(str, found[:20]))
        if kind == "ordinary speech":  # or nothing here could fail
            one, other = recorded.trace.queries[0], replayed.trace.queries[0]
            moved = float(((one.steps - other.steps).astype(float) ** 2).sum() ** 0.5)
            assert moved / 2**one.quantiser.bits == pytest.approx(1.0, abs=1e-3)
