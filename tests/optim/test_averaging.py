import pytest
import torch

from optim import averaging
from optim.averaging import Averaging, average_, swap_


def averaged(rule: Averaging, iterates: torch.Tensor, seed: torch.Tensor) -> list[torch.Tensor]:
    """The average after each of the iterates (rounds, d)."""
    average, found = seed.clone(), []
    for number, newest in enumerate(iterates, start=1):
        average_(average, newest, rule.newest_weight(number, len(iterates)))
        found.append(average.clone())
    return found


@pytest.fixture
def iterates():
    return torch.randn(20, 5, generator=torch.Generator().manual_seed(0))


def test_tail_is_the_mean_of_the_last_part_and_before_it_the_newest(iterates):
    found = averaged(Averaging(rule="tail", share=0.3), iterates, torch.zeros(5))
    assert all(torch.equal(found[index], iterates[index]) for index in range(15))
    for last in range(15, 20):
        torch.testing.assert_close(found[last], iterates[14 : last + 1].mean(0))


@pytest.mark.parametrize(("share", "first"), [(1.0, 1), (0.7, 4), (0.1, 10), (0.001, 10)])
def test_tail_has_the_share_of_the_rounds_and_one_at_least(share, first):
    assert Averaging(rule="tail", share=share).first_round(10) == first


def test_ema_starts_from_the_seed_and_has_constant_decay_after_its_warm_up(iterates):
    seed = torch.ones(5)
    found = averaged(Averaging(rule="ema", decay=0.5), iterates, seed)
    torch.testing.assert_close(found[0], 2 / 11 * seed + 9 / 11 * iterates[0])
    for last in range(9, 20):  # (1 + 8) / (10 + 8) = 0.5
        torch.testing.assert_close(found[last], (found[last - 1] + iterates[last]) / 2)


def test_none_is_the_newest_bit_for_bit(iterates):
    for found, newest in zip(averaged(Averaging(), iterates, torch.ones(5)), iterates, strict=True):
        assert torch.equal(found, newest)


def test_swap_exchanges_all_blocks(monkeypatch):
    monkeypatch.setattr(averaging, "BLOCK", 4)
    one, other = torch.arange(10.0), -torch.arange(10.0)
    swap_(one, other)
    assert torch.equal(one, -torch.arange(10.0)) and torch.equal(other, torch.arange(10.0))


@pytest.mark.parametrize("wrong", [{"rule": "mean"}, {"decay": 1.0}, {"share": 0.0}, {"share": 1.5}])
def test_a_wrong_setting_is_refused(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        Averaging(**wrong)
