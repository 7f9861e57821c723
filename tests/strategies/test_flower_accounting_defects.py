"""D8, D9, D11, D15: where Flower's accounting, adaptive bounds and ledger claim less than is released.

As `test_flower_defects`: the control first, with its number, then what holds in ours.
"""

import math

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.clientapp.mod import LocalDpMod
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideAdaptiveClipping,
)
from flwr.supercore.privacy_accounting import (
    GaussianPrivacyEvent,
    NeighboringRelation,
    PrivacyConfig,
    SamplingMethod,
)
from flwr.supercore.privacy_accounting.rdp_accountant import RdpAccountant

from privacy import PrivacyPlan, pld_epsilon, read_ledger
from privacy.accounting.epsilon import Release
from tests.strategies.control import (
    QUIET,
    arrays,
    fed_avg,
    flower_cohort,
    flower_moves,
    flower_round,
    gaussian_delta,
    our_moves,
    our_release,
    reach,
    std_holds,
    theirs,
    wrapped,
)
from tests.strategies.federation import (
    BOUNDS,
    LAYOUT,
    QUANTISER,
    answer_to,
    honest,
    integers_of,
    make_strategy,
)
from tests.strategies.flower import FakeGrid
from wire.messages import Answer, Task


def constant(value):
    return lambda number: torch.full((LAYOUT.size,), float(value))


NOTHING = honest(constant(0.0))
LARGE = honest(constant(50.0))
ACCOUNTED = (NeighboringRelation.ADD_OR_REMOVE_ONE, SamplingMethod.NO_AMPLIFICATION)


def flower_accountant(population, relation=ACCOUNTED[0], sampling=ACCOUNTED[1]):
    return RdpAccountant(PrivacyConfig(1e-5, population, relation, sampling))


def test_d8_flowers_accounted_mode_is_for_another_sampler_and_ours_for_the_one_that_runs(tmp_path):
    """A cohort of fixed size: whoever leaves is replaced, so one person moves the release by 2 C.

    {a} against {a, b}, one client a round, z = 1: with b present, half of the cohorts are {b}.
    """
    a, b = ([theirs({"w": np.array([side, 0.0])})] for side in (-1.0, 1.0))
    moved = np.linalg.norm(flower_moves(b) - flower_moves(a))
    assert moved == pytest.approx(2.0)
    claimed = gaussian_delta(3.0, 1.0)
    accountant = flower_accountant(2)
    accountant.compose(GaussianPrivacyEvent(1.0, 1, 2))
    exact = 0.5 * gaussian_delta(math.log(2 * math.exp(3.0) - 1), moved)
    assert (claimed, exact) == (pytest.approx(0.00154, abs=1e-5), pytest.approx(0.0561, abs=1e-4))
    assert accountant.get_delta(3.0) < exact / 10  # an upper bound, of another mechanism
    assert {len(flower_cohort(fraction=0.5, population=10)) for _ in range(50)} == {5}

    alone, both = our_moves(tmp_path, LARGE, NOTHING), our_moves(tmp_path, LARGE, LARGE)
    assert (both - alone).norm() <= reach(2)  # b zeroed out: C / S, and a is where it was
    strategy = make_strategy(tmp_path, dict.fromkeys(range(1, 11), 1), cohort=5, rounds=50)
    sizes = set()
    for number in range(1, 51):
        our_release(strategy, dict.fromkeys(range(1, 11), NOTHING), number)
        sizes.add(strategy.last_report.drawn)
    assert len(sizes) > 2
    true = 0.5 * gaussian_delta(math.log(2 * math.exp(3.0) - 1), 1.0)
    assert pld_epsilon([Release(sampling_rate=0.5, noise_multiplier=1.0)], true) >= 3.0


def test_d8_flowers_replace_one_accounting_takes_half_the_sensitivity_and_ours_names_its_adjacency():
    accountant = flower_accountant(10, NeighboringRelation.REPLACE_ONE, SamplingMethod.WITHOUT_REPLACEMENT)
    accountant.compose(GaussianPrivacyEvent(1.0, 10, 10))
    assert accountant.get_epsilon(1e-5) == pytest.approx(4.73, abs=0.01)
    assert gaussian_delta(9.997, 2.0) == pytest.approx(1e-5, rel=1e-2)  # the truth, at 2 C

    plan = PrivacyPlan(population=10, cohort=10, rounds=1, noise_multiplier=1.0, delta=1e-5)
    assert plan.adjacency == "zero-out / add-or-remove one speaker"
    assert plan.epsilon().value == pytest.approx(4.377, abs=2e-3)


def adaptive(count, clip, **settings):
    settings = {"noise_multiplier": 0.0, "clipped_count_stddev": 0.0, **settings}
    return DifferentialPrivacyServerSideAdaptiveClipping(
        fed_avg(count), num_sampled_clients=count, initial_clipping_norm=clip, **settings
    )


def spread_updates(size=2):
    """Ten clients whose updates have norms 0.55 to 1.45: the median is 1."""
    return [theirs({"w": np.eye(1, size)[0] * (0.55 + 0.1 * index)}) for index in range(10)]


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5 * math.exp(-6)), (2.0, 2.0 * math.exp(6))])
def test_d9a_flowers_adaptive_bound_runs_away_from_the_median_and_ours_does_not_move(tmp_path, start, end):
    """60 rounds at rate 0.2 and target 1/2: it should go to the median, 1, from either side."""
    strategy = adaptive(10, start)
    for number in range(1, 61):
        flower_round(strategy, {"w": np.zeros(2)}, spread_updates(), number)
    assert strategy.clipping_norm == pytest.approx(end, rel=1e-6)

    ours = make_strategy(tmp_path, {1: 2}, z=QUIET, rounds=20)
    for number in range(1, 21):
        released = our_release(ours, {1: LARGE}, number)
        assert released.norm() == pytest.approx(math.hypot(*BOUNDS.bounds[:-1]), rel=5e-3)


def test_d9b_flower_noises_with_the_next_bound_and_ours_with_the_one_that_clipped(tmp_path):
    size, count = 20_000, 40
    nodes = [theirs({"w": np.full(size, 1.0)})] * count  # all far beyond the bound
    strategy = adaptive(count, 1.0, noise_multiplier=1.0, clipped_count_stddev=1e6)
    strategy.clipped_count_stddev = 0.0  # exact bits, so that only the order of the two steps shows
    noisy, _ = flower_round(strategy, {"w": np.zeros(size)}, nodes)
    std = noisy["w"].std() * count
    assert std == pytest.approx(math.exp(-0.2 * 0.5), rel=0.03)  # 0.905 C instead of C

    ours = make_strategy(tmp_path, {1: 2}, z=1.0, rounds=200)
    clipped = torch.stack([our_release(ours, {1: LARGE}, number) for number in range(1, 201)])
    differences = (clipped[0::2] - clipped[1::2]).numpy() / math.sqrt(2)
    assert std_holds(differences, BOUNDS.total / 2)


def test_d9c_flowers_bits_are_outside_its_split_and_our_statistics_inside_the_bound():
    """Bits of 0 and 1 change by 1, the split is for 1/2: with n = 20 and z = 1 only 0.756 is left."""
    strategy = adaptive(20, 1.0, noise_multiplier=1.0, clipped_count_stddev=None)
    joint = strategy.noise_multiplier**-2 + strategy.clipped_count_stddev**-2
    assert joint**-0.5 == pytest.approx(0.756, abs=1e-3)

    task = Task(
        round_number=1, nonce="n", layout=LAYOUT.digest, speakers=(0,), bounds=BOUNDS, quantiser=QUANTISER
    )  # model and statistics together, both at their extremes
    for loss in (-math.inf, 0.0, 1e9, math.nan):
        integers = integers_of(answer_to(task, constant(50.0), loss)).long()
        assert int((integers**2).sum()) <= 4**QUANTISER.bits


def test_d9d_flower_reads_the_replies_twice_and_ours_a_stream_once(tmp_path):
    nodes = dict(enumerate(spread_updates(), start=1))
    strategy, grid = adaptive(10, 1.0), FakeGrid(nodes)
    messages = strategy.configure_train(1, arrays({"w": np.zeros(2)}), ConfigRecord(), grid)
    with pytest.raises(ZeroDivisionError):
        strategy.aggregate_train(1, (reply for reply in grid.send_and_receive(messages)))

    assert our_moves(tmp_path, LARGE, NOTHING).norm() > 0.9 * BOUNDS.total / 2  # an iterator too


@pytest.mark.parametrize(("target", "factor"), [(10.0, 2.3), (20.0, 150.0)])
def test_d11_flowers_local_formula_fails_beyond_epsilon_one_and_our_calibration_holds(target, factor):
    mod = LocalDpMod(clipping_norm=1.0, sensitivity=1.0, epsilon=target, delta=1e-5)
    size = 100_000
    message = Message(RecordDict({"arrays": arrays({"w": np.zeros(size)})}), 1, MessageType.TRAIN)

    def train(message, context):
        return Message(RecordDict({"arrays": arrays({"w": np.full(size, 1e-9)})}), reply_to=message)

    reply = mod(message, None, train)
    std = reply.content["arrays"]["w"].numpy().std()
    assert gaussian_delta(target, 1 / std) == pytest.approx(factor * 1e-5, rel=0.25)

    plan = PrivacyPlan.calibrate(target_epsilon=target, population=1, cohort=1, rounds=1, delta=1e-5)
    assert gaussian_delta(target, 1 / plan.noise_multiplier) <= 1e-5
    twice = PrivacyPlan.calibrate(target_epsilon=target, population=1, cohort=1, rounds=2, delta=1e-5)
    assert twice.noise_multiplier == pytest.approx(math.sqrt(2) * plan.noise_multiplier, rel=1e-2)
    with pytest.raises(ValueError, match="target_epsilon"):
        PrivacyPlan.calibrate(target_epsilon=0.0, population=1, cohort=1, rounds=1, delta=1e-5)


def test_d15_flowers_ledger_is_memory_written_after_the_fact_and_ours_is_on_disk_before(
    tmp_path, monkeypatch
):
    class Crash(Exception):
        pass

    def crash(*arguments):
        raise Crash

    nodes = [theirs({"w": np.full(2, 0.1)})] * 2
    theirs_crashed = wrapped(2, z=1.0, accountant=flower_accountant(2))
    monkeypatch.setattr(theirs_crashed, "_compose_release", crash)  # the noised model exists by now
    with pytest.raises(Crash):
        flower_round(theirs_crashed, {"w": np.zeros(2)}, nodes)
    assert theirs_crashed.accountant.num_releases == 0

    ours = make_strategy(tmp_path, {1: 1}, z=1.0)
    monkeypatch.setattr("privacy.noise.secure.SecureGaussian.add_rounded_", crash)
    with pytest.raises(Crash):
        our_release(ours, {1: NOTHING})
    assert [entry.round for entry in read_ledger(tmp_path / "ledger.jsonl")] == [1]


def test_d15_flower_trusts_the_clients_clip_and_evaluation_and_ours_neither(tmp_path):
    inner = fed_avg(2)
    client_side = DifferentialPrivacyClientSideFixedClipping(inner, 1.0, 1.0, 2)
    unclipped = [theirs({"w": np.array([1e6, 0.0])}, loss=3.0), theirs({"w": np.zeros(2)}, loss=5.0)]
    moved, _ = flower_round(client_side, {"w": np.zeros(2)}, unclipped)
    assert moved["w"][0] == pytest.approx(5e5, rel=1e-3)  # the bound is C / n = 0.5

    def unclipped_sum(message):
        task, _ = Task.from_message(message)
        total = torch.zeros(task.bounds.size, dtype=torch.int32)
        total[0] = 2**task.quantiser.bits
        return Answer.of(task, total).to_record()

    strategy = make_strategy(tmp_path, {1: 1, 2: 1}, z=QUIET)
    assert our_release(strategy, {1: unclipped_sum, 2: NOTHING}).abs().max() < 6 * QUIET / 2
    assert "have norm" in strategy.last_report.dropped[0].reason
    assert strategy.configure_evaluate(1, strategy.arrays(), ConfigRecord(), None) == []
    assert strategy.aggregate_evaluate(1, iter([])) is None
