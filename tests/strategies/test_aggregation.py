import dataclasses
import itertools

import pytest
import torch

from privacy import ReplyRejected, pack
from strategies.aggregation import CohortSum
from tests.strategies.federation import BOUNDS, LAYOUT, QUANTISER, answer_to, integers_of
from wire.messages import Task


def tasks(counts):
    return {
        node: Task(
            round_number=4,
            nonce="abc",
            layout=LAYOUT.digest,
            speakers=tuple(range(count)),
            bounds=BOUNDS,
            quantiser=QUANTISER,
        )
        for node, count in counts.items()
    }


def random_update(seed):
    return lambda number: torch.randn(
        LAYOUT.size, generator=torch.Generator().manual_seed(100 * seed + number)
    )


def test_any_order_of_replies_gives_the_same_sum_bit_for_bit():
    asked = tasks({1: 3, 2: 1, 3: 2, 4: 2})
    answers = {node: answer_to(task, random_update(node)) for node, task in asked.items()}
    sums = []
    for order in itertools.permutations(asked):
        total = CohortSum(asked, bounds=BOUNDS, quantiser=QUANTISER)
        for node in order:
            total.add(node, answers[node])
        sums.append(total.integers)
    assert all(torch.equal(sums[0], other) for other in sums[1:])


def too_large(answer):
    integers = integers_of(answer)
    integers[0] = answer.count * 2**QUANTISER.bits
    return dataclasses.replace(answer, packed=pack(integers, answer.count, BOUNDS, QUANTISER))


def damaged(answer):
    packed = answer.packed.copy()
    packed[0] ^= 1
    return dataclasses.replace(answer, packed=packed)


BAD = {
    "another round": (lambda a: dataclasses.replace(a, round_number=3), "round is 3, asked was 4"),
    "another cohort": (lambda a: dataclasses.replace(a, nonce="old"), "nonce is 'old'"),
    "another model": (lambda a: dataclasses.replace(a, layout="x"), "layout is 'x'"),
    "more speakers than asked": (lambda a: dataclasses.replace(a, count=9), "count is 9, asked was 2"),
    "truncated": (lambda a: dataclasses.replace(a, packed=a.packed[:-1]), r"Expected \d+ bytes"),
    "oversize": (lambda a: dataclasses.replace(a, packed=a.packed.repeat(2)), r"Expected \d+ bytes"),
    "floats": (lambda a: dataclasses.replace(a, packed=a.packed.astype("f4")), "float32"),
    "another node's": (lambda a: answer_to(tasks({2: 1})[2], random_update(2)), "count is 1, asked was 2"),
    "damaged": (damaged, "block of"),
    "beyond the bound": (too_large, "have norm"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_reply_is_refused_with_its_reason_and_leaves_the_sum_alone(name):
    spoil, reason = BAD[name]
    asked = tasks({1: 2, 2: 1})
    total = CohortSum(asked, bounds=BOUNDS, quantiser=QUANTISER)
    total.add(2, answer_to(asked[2], random_update(2)))
    before = total.integers.clone()
    with pytest.raises(ReplyRejected, match=reason):
        total.add(1, spoil(answer_to(asked[1], random_update(1))))
    assert torch.equal(total.integers, before)
    assert total.silent_nodes() == [1]


def test_a_second_answer_and_a_stranger_are_refused():
    asked = tasks({1: 2})
    total = CohortSum(asked, bounds=BOUNDS, quantiser=QUANTISER)
    answer = answer_to(asked[1], random_update(1))
    total.add(1, answer)
    for node in (1, 99):
        with pytest.raises(ReplyRejected, match="not asked in this round, or has answered already"):
            total.add(node, answer)
    assert torch.equal(total.integers, integers_of(answer))
