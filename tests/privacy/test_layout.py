"""A layout maps one buffer to named views, and its digest is its identity."""

import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privacy.layout import LayerLayout

SHAPES = st.lists(st.lists(st.integers(1, 5), max_size=3).map(tuple), min_size=1, max_size=6).map(
    lambda shapes: {f"layer{index}": shape for index, shape in enumerate(shapes)}
)


@given(SHAPES)
def test_views_share_the_vector_and_cover_it_once(shapes: dict[str, tuple[int, ...]]) -> None:
    layout = LayerLayout.of(shapes)
    vector = torch.zeros(layout.size)
    views = layout.views(vector)
    assert {name: tuple(view.shape) for name, view in views.items()} == shapes
    for view in views.values():
        view.add_(1)
    assert torch.equal(vector, torch.ones(layout.size))


def test_sizes_offsets_and_length() -> None:
    layout = LayerLayout.of({"a": (2, 3), "scalar": (), "b": (4,)})
    assert (layout.sizes, layout.offsets, layout.size, len(layout)) == ((6, 1, 4), (0, 6, 7, 11), 11, 3)
    assert LayerLayout.of([("a", [2, 3]), ("scalar", []), ("b", torch.Size([4]))]) == layout


def test_digest_tells_layouts_apart() -> None:
    layouts = [{"a": (2, 3)}, {"a": (3, 2)}, {"a": (6,)}, {"b": (2, 3)}, {"a": (2,), "b": (3,)}]
    assert len({LayerLayout.of(shapes).digest for shapes in layouts}) == len(layouts)
    assert LayerLayout.of({"a": (2, 3)}).digest == LayerLayout.of([("a", (2, 3))]).digest
    # spelled out, for two versions of the software must agree on it
    canonical = b'[["a",[2,3]],["\\u00e9",[]]]'
    assert LayerLayout.of({"a": (2, 3), "é": ()}).digest == hashlib.sha256(canonical).hexdigest()


@pytest.mark.parametrize(
    "pairs", [[], [("a", (1,)), ("a", (2,))], [("", (1,))], [("a", (0,))], [("a", (2, -1))]]
)
def test_impossible_layouts_are_refused(pairs: list[tuple[str, tuple[int, ...]]]) -> None:
    with pytest.raises(ValueError):
        LayerLayout.of(pairs)


@pytest.mark.parametrize("vector", [torch.zeros(5), torch.zeros(7), torch.zeros(2, 3), torch.zeros(12)[::2]])
def test_views_refuse_another_vector(vector: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="contiguous vector"):
        LayerLayout.of({"a": (2, 3)}).views(vector)
