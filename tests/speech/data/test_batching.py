import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speech.data.batching import BatchLimit, bucketed_batches, collate, dynamic_batches
from speech.data.examples import Example
from tests.speech import toy


def padding(lengths: list[int], batches: list[list[int]]) -> float:
    """Share of the padded frames that are padding."""
    padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)
    return 1 - sum(lengths) / padded


@given(
    lengths=st.lists(st.integers(1, 3_000), max_size=60),
    batch_size=st.integers(1, 9),
    seed=st.none() | st.integers(0, 99),
)
def test_every_index_is_in_exactly_one_batch(lengths: list[int], batch_size: int, seed: int | None) -> None:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    batches = bucketed_batches(lengths, batch_size, generator)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert sum(len(batch) < batch_size for batch in batches) <= 1
    assert all(batches)


def test_bucketing_saves_padding_and_still_mixes() -> None:
    lengths = torch.randint(80, 300, (240,), generator=torch.Generator().manual_seed(0)).tolist()
    generator = torch.Generator().manual_seed(0)
    first, second = (bucketed_batches(lengths, 6, generator) for _ in range(2))
    plain = [list(range(i, i + 6)) for i in range(0, 240, 6)]
    assert padding(lengths, bucketed_batches(lengths, 6)) < 0.02
    assert padding(lengths, first) < 0.08 < 0.2 < padding(lengths, plain)
    assert len({frozenset(b) for b in first} & {frozenset(b) for b in second}) < 5
    means = [sum(lengths[i] for i in batch) for batch in first]
    assert means != sorted(means, reverse=True)


def test_one_seed_gives_one_order() -> None:
    lengths = list(range(50))
    draws = [bucketed_batches(lengths, 4, torch.Generator().manual_seed(s)) for s in (3, 3, 4)]
    assert draws[0] == draws[1] != draws[2]


def test_without_a_generator_long_ones_come_first_and_ties_keep_their_order() -> None:
    assert bucketed_batches([5, 9, 5, 7], 2) == [[1, 3], [0, 2]]


def test_a_batch_size_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
        bucketed_batches([1], 0)


@given(
    lengths=st.lists(st.integers(1, 3_000), max_size=60),
    most_frames=st.integers(1, 9_000),
    seed=st.none() | st.integers(0, 99),
)
def test_dynamic_batches_hold_every_index_once_and_keep_to_their_frames(
    lengths: list[int], most_frames: int, seed: int | None
) -> None:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    batches = dynamic_batches(lengths, most_frames, generator)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert max(lengths[i] for i in batch) * len(batch) <= most_frames or len(batch) == 1


def test_dynamic_batches_are_large_where_utterances_are_short_and_padded_little() -> None:
    lengths = torch.randint(20, 1_500, (600,), generator=torch.Generator().manual_seed(0)).tolist()
    batches = dynamic_batches(lengths, 6_000, torch.Generator().manual_seed(0))
    assert padding(lengths, batches) < 0.12
    full = [sum(lengths[i] for i in batch) for batch in batches]
    assert sorted(full)[1] > 0.5 * 6_000  # all but the one that got the rest
    assert len({len(batch) for batch in batches}) > 10
    means = [max(lengths[i] for i in batch) for batch in batches]
    assert means != sorted(means, reverse=True)


def test_a_limit_is_in_utterances_or_in_seconds() -> None:
    lengths = [100, 200, 300, 400]
    assert BatchLimit(utterances=3).batches(lengths, 0.01) == [[3, 2, 1], [0]]
    assert BatchLimit(seconds=8.0).batches(lengths, 0.01) == [[3, 2], [1, 0]]
    for wrong in ({}, {"utterances": 2, "seconds": 1.0}, {"utterances": -1}, {"seconds": math.inf}):
        with pytest.raises(ValueError, match=r"batch-size = .* and batch-seconds = "):
            BatchLimit(**wrong)


def test_collate_pads_with_zeros_and_joins_tokens() -> None:
    long, short = toy.examples([7, 4])
    batch = collate([short, long])
    assert batch.features.shape == (2, 7, 40) and len(batch) == 2
    assert torch.equal(batch.features[0, :4], short.features)
    assert not batch.features[0, 4:].any()
    assert torch.equal(batch.features[1], long.features)
    assert batch.lengths.tolist() == [4, 7]
    assert torch.equal(batch.tokens, torch.cat([short.tokens, long.tokens]))
    assert batch.token_lengths.tolist() == [5, 5] and batch.shortest.tolist() == [5, 5]


def test_a_batch_shares_no_memory_with_its_examples() -> None:
    (example,) = toy.examples([4])
    kept = example.features.clone()
    collate([example]).features.zero_()
    assert torch.equal(example.features, kept)


def test_no_example_is_no_batch() -> None:
    nothing: list[Example] = []
    with pytest.raises(ValueError, match="at least one example"):
        collate(nothing)
