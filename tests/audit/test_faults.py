"""Each fault, planted, turns the suite red, and for the reason that is its own.

Not to be seen by this method, of the faults that were found in others' libraries:

- Clip skipped on integer buffers, buffers of BatchNorm sent along: a model here has no buffers, `LayerLayout`
  refuses what is not float, and any further record of a reply is "extra".
- CMVN statistics in clear: features are normalised over one utterance, and a further field is "extra".
- A checkpoint selected by un-noised private loss: the server has no such loss, but that of held-out speakers.
- A source's distribution or key, coins that are no coins: only what was *asked* is recorded (tests/privacy
  has the statistics). That two streams are one is seen.
- Accounting that makes the wrong epsilon of the right q, z and rounds: tests/privacy has goldens.
- Secure mode (masks, keys, the server's draw): there is none.
- Time: work is counted in utterances and batches, and no clock is read; so a reply that is late because the
  machine is slow, and what a watcher of the network learns from when replies come, are not seen.
"""

from dataclasses import replace

import pytest

from audit import Adjacency, check_declared, check_fresh_noise, compare
from tests.audit.faults import FAULTS, REPEATING
from tests.audit.stage import ROUNDS, Stage, perform


def found_in(fault, folder):
    if fault.recorded is None:
        run = perform(fault.replayed, folder / "run", silent=fault.silent)
        return {one.what for one in check_declared(run.trace, run.plan)}
    recorded = perform(fault.recorded, folder / "recorded")
    replayed = perform(fault.replayed, folder / "replayed", recorded.trace, fault.silent)
    same = fault.recorded.person == fault.replayed.person
    adjacency = Adjacency.ZERO_OUT if same else Adjacency.ADD_OR_REMOVE
    found = compare(recorded.trace, replayed.trace, adjacency, frozenset({2} if same else ROUNDS))
    return {one.what for one in found + check_declared(replayed.trace, replayed.plan)}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_a_planted_fault_is_seen(fault, tmp_path, monkeypatch):
    if fault.plant:
        fault.plant(monkeypatch)
    assert found_in(fault, tmp_path) & set(fault.seen_as)


def test_a_node_that_does_not_answer_is_not_taken_for_a_retry(tmp_path):
    (retry,) = (fault for fault in FAULTS.values() if fault.silent)
    assert found_in(replace(retry, plant=None), tmp_path) == {"answer"}


@pytest.mark.parametrize("name", REPEATING)
def test_noise_that_repeats_is_seen(name, tmp_path, monkeypatch):
    plant, runs = REPEATING[name]
    plant(monkeypatch)
    traces = [perform(Stage(), tmp_path / str(number)).trace for number in range(runs)]
    assert check_fresh_noise(*traces)
    assert bool(check_fresh_noise(traces[0])) == (runs == 1)
