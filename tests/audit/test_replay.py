"""One person's speech, whatever it is, moves the sum by at most C and everything else not at all.

The run on a data set in which the person counts as nothing (zero-out) is recorded; each of the others is
replayed. All is exact: no test here can fail by chance.
"""

import pytest

from audit import NEIGHBOURS, Adjacency, check_declared, check_fresh_noise, compare
from tests.audit.stage import DRAWN_IN, ROUNDS, Stage, perform

ALWAYS = frozenset(ROUNDS)
UNDRAWN = ALWAYS - set(DRAWN_IN)

PLACES = {"first": "a", "in the middle": "c", "last": "g"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs of a stage, each done once; all but the first are replays of it."""
    done = {}

    def of(stage):
        if stage not in done:
            frozen = done[Stage()].trace if done else None
            done[stage] = perform(stage, tmp_path_factory.mktemp("stage"), frozen)
        return done[stage]

    of(Stage())
    return of


def same_but_for_one(recorded, replayed, adjacency, equal_rounds):
    found = compare(recorded.trace, replayed.trace, adjacency, equal_rounds)
    found += check_declared(replayed.trace, replayed.plan)
    assert not found, "\n".join(map(str, found[:20]))


def test_a_recorded_run_is_the_one_that_its_plan_declares(run):
    recorded = run(Stage())
    assert check_declared(recorded.trace, recorded.plan) == []
    assert len(recorded.trace.queries) == len(ROUNDS)


def test_the_recorder_sees_a_person_who_reaches_the_bound(run):
    """Or nothing here could fail: ordinary speech is clipped, and moves the sum by C where it is drawn."""
    nobody, somebody = run(Stage()).trace.queries, run(Stage(kind="ordinary speech")).trace.queries
    moved = [
        float(((one.steps - other.steps).astype(float) ** 2).sum() ** 0.5) / 2**one.quantiser.bits
        for one, other in zip(nobody, somebody, strict=True)
    ]
    assert moved == pytest.approx([1.0, 0.0, 1.0], abs=1e-3)


@pytest.mark.parametrize("kind", NEIGHBOURS)
def test_whatever_a_person_says_moves_the_sum_by_at_most_c_and_nothing_else(run, kind):
    neighbour = NEIGHBOURS[kind]
    equal_rounds = ALWAYS if neighbour.counts_as_zero else UNDRAWN
    same_but_for_one(run(Stage()), run(Stage(kind=kind)), neighbour.adjacency, equal_rounds)


@pytest.mark.parametrize("place", [f"added {place}" for place in PLACES])
def test_a_person_who_is_added_moves_the_sum_by_at_most_c(run, place):
    somebody = Stage(person=PLACES[place.removeprefix("added ")], kind="ordinary speech")
    same_but_for_one(run(Stage(person="")), run(somebody), Adjacency.ADD_OR_REMOVE, UNDRAWN)


@pytest.mark.parametrize("place", [f"removed {place}" for place in PLACES])
def test_who_counts_as_nothing_and_who_is_not_there_give_the_same_sum(run, place):
    """So zero-out and add-or-remove are one adjacency."""
    nobody = Stage(person=PLACES[place.removeprefix("removed ")])
    same_but_for_one(run(Stage(person="")), run(nobody), Adjacency.ADD_OR_REMOVE, ALWAYS)


@pytest.mark.parametrize("place", [f"not drawn, removed {place}" for place in PLACES])
def test_who_is_not_drawn_moves_nothing(run, place):
    person = PLACES[place.removeprefix("not drawn, removed ")]
    undrawn = Stage(person=person, kind="ordinary speech", drawn=False)
    same_but_for_one(run(Stage(person="")), run(undrawn), Adjacency.ADD_OR_REMOVE, ALWAYS)


def test_no_two_rounds_or_runs_share_noise(run, tmp_path):
    first = run(Stage())
    again = perform(Stage(), tmp_path / "again")
    assert check_fresh_noise(first.trace, again.trace) == []
