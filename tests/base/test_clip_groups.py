"""Clip groups: every tensor is in one group, or the recipe is refused with the name and the remedy."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.clip_groups import ONE_GROUP, ClipGroups

NAMES = ["encoder.0.A", "decoder.0.A", "encoder.0.B", "head.bias"]


def test_the_first_pattern_that_matches_decides():
    groups = ClipGroups.read("*.bias=0.2, encoder.*=0.3,*=0.5")
    assert groups.members(NAMES) == (("head.bias",), ("encoder.0.A", "encoder.0.B"), ("decoder.0.A",))
    assert groups.ordered(NAMES) == ("head.bias", "encoder.0.A", "encoder.0.B", "decoder.0.A")


def test_nothing_written_is_one_group_of_all_in_their_own_order():
    assert ClipGroups.read("") == ONE_GROUP
    assert ONE_GROUP.members(NAMES) == (tuple(NAMES),)


def test_what_is_written_is_read_again():
    groups = ClipGroups.read("a*= 1e-3 ,[bc]*=0.1,*=.899")
    assert str(groups) == "a*=0.001,[bc]*=0.1,*=0.899"
    assert ClipGroups.read(str(groups)) == groups


def test_shares_may_be_rounded_to_six_digits():
    assert len(ClipGroups.read("a=0.333333,b=0.333333,c=0.333333")) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "encoder.*",
            "'encoder.*' is no pair of pattern and share: write both, for example '*encoder.*=0.05",
        ),
        ("encoder.*=0.05,", "'' is no pair"),
        ("encoder.*=five %", "'encoder.*=five %' is no pair"),
        ("encoder.*=", "'encoder.*=' is no pair"),
        ("=1", "the pattern of the share 1.0 is empty"),
        ("a=0,*=1", "the share of 'a' is 0.0: it must be above 0"),
        ("a=-0.5,*=1.5", "the share of 'a' is -0.5: it must be above 0"),
        ("a=nan,*=1", "the share of 'a' is nan"),
        ("a=inf,*=1", "the share of 'a' is inf"),
        (
            "a=0.05,*=0.9",
            "the shares sum to 0.95: they are shares of C^2, so change them until they sum to 1",
        ),
        ("a=5,*=95", "the shares sum to 100"),
    ],
)
def test_what_cannot_be_groups_is_named_with_the_remedy(text, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        ClipGroups.read(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "encoder.*=0.5,decoder.*=0.5",
            "no pattern matches the trained tensor 'head.bias': add one that does",
        ),
        (
            "speech.*=0.5,*=0.5",
            "the pattern 'speech.*' matches no trained tensor: correct it or leave it out",
        ),
        ("Encoder.*=0.5,*=0.5", "the pattern 'Encoder.*' matches no trained tensor"),
        ("*=0.5,head.*=0.5", "all tensors that 'head.*' matches are in groups before it: put it first"),
    ],
)
def test_groups_that_do_not_fit_the_tensors_are_named_with_the_remedy(text, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        ClipGroups.read(text).members(NAMES)


def test_the_trained_tensors_are_listed_for_who_mistypes():
    with pytest.raises(ValueError, match=r"are encoder\.0\.A, decoder\.0\.A, encoder\.0\.B, head\.bias"):
        ClipGroups.read("x=0.5,*=0.5").members(NAMES)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_members_guarantee(owners):
    """Every tensor is in exactly one group, and in a group the order is that of the model."""
    names = [f"{owner}.{index}" for index, owner in enumerate(owners)]
    used = sorted(set(owners))
    groups = ClipGroups(
        patterns=tuple(f"{owner}.*" for owner in used), shares=tuple(1 / len(used) for _ in used)
    )
    members = groups.members(names)
    assert sorted(groups.ordered(names)) == sorted(names)
    for owner, group in zip(used, members, strict=True):
        assert list(group) == [name for name in names if name.startswith(f"{owner}.")]
