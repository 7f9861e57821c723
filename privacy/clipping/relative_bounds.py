"""Relative bounds: a clip rule's answers, checked, for each clip group of a model.

Guarantee: what is returned covers the model exactly, every bound is positive and finite, and the slices of a
clip group have together the square root of the group's share. `ClipBounds.of` scales them to C.
"""

from __future__ import annotations

import math
from itertools import islice

from base.clip_groups import ClipGroups
from base.registries import CLIP_RULES
from privacy.clipping.rules import Weights
from privacy.layout import LayerLayout
from privacy.validate import positive, whole


def relative_bounds(rule: str, layout: LayerLayout, exponent: float, clip_groups: ClipGroups) -> Weights:
    """The slices of the model, each with its size and its bound in some unit.

    Args:
        rule: a name in `base.registries.CLIP_RULES`. It is asked once per group, for that group's layers.
        layout: the model's layers, group by group.
        exponent: p of the rule 'power'.
        clip_groups: the groups and their shares.

    Raises:
        ValueError: for an unknown rule, an answer that is no partition of a group's layers with positive,
            finite bounds, or groups that do not fit the layout.

    Example:
        >>> layout = LayerLayout.of({"encoder": (4,), "head": (3,), "bias": ()})
        >>> relative_bounds("global", layout, 0.25, ClipGroups.read("encoder=0.36,*=0.64"))
        [(4, 0.6), (4, 0.8)]
    """
    groups = clip_groups.members(layout.names)
    if len(groups) == 1:
        return _answer(rule, layout.sizes, exponent)
    _require_adjacent(groups, layout)
    sizes = iter(layout.sizes)
    answers = (_answer(rule, tuple(islice(sizes, len(group))), exponent) for group in groups)
    return [
        one
        for answer, share in zip(answers, clip_groups.shares, strict=True)
        for one in _with_norm(rule, answer, math.sqrt(share))
    ]


def _require_adjacent(groups: tuple[tuple[str, ...], ...], layout: LayerLayout) -> None:
    """Refuse a layout in which a group is not one part of the vector: a slice could not be its flat clip."""
    wanted = (name for group in groups for name in group)
    for name, expected in zip(layout.names, wanted, strict=True):
        if name != expected:
            raise ValueError(
                f"The layout has {name!r} where its clip groups have {expected!r}: order the layers group by "
                "group (`ClipGroups.ordered`; `layout_of` and `bind` do so where they are given the groups)."
            )


def _with_norm(rule: str, weights: Weights, norm: float) -> Weights:
    """The same slices with bounds that come to `norm` together."""
    before = math.hypot(*(weight for _, weight in weights))
    scaled = [(size, weight / before * norm) for size, weight in weights]
    if not math.isclose(after := math.hypot(*(weight for _, weight in scaled)), norm, rel_tol=1e-9):
        raise ValueError(
            f"The clip rule {rule!r} gave relative bounds that float64 cannot scale to a clip group's "
            f"{norm!r}: they come to {after!r}. Let the rule return weights near 1."
        )
    return scaled


def _answer(rule: str, sizes: tuple[int, ...], exponent: float) -> Weights:
    """A clip rule's answer as numbers of our own: a partition of the layers with positive relative bounds."""
    answer = CLIP_RULES[rule](sizes, exponent)
    try:
        weights = [(int(size), float(weight)) for size, weight in answer]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"The clip rule {rule!r} returned no pairs of size and bound: {error}.") from error
    for index, (size, weight) in enumerate(weights):
        whole(**{f"size of slice {index} by the clip rule {rule!r}": size})
        positive(**{f"relative bound of slice {index} by the clip rule {rule!r}": weight})
    if (covered := sum(size for size, _ in weights)) != sum(sizes):
        raise ValueError(
            f"The clip rule {rule!r} returned slices of {covered} coordinates in all, but the layers that it "
            f"was asked for have {sum(sizes)}: let the slices cover them, or a coordinate has no bound."
        )
    positive(
        **{f"norm of the relative bounds by the clip rule {rule!r}": math.hypot(*(w for _, w in weights))}
    )
    return weights
