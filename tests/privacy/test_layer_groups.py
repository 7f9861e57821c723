import pytest

from privacy.layer_groups import MOST_GROUPS, layer_groups
from privacy.layout import LayerLayout

DEEP = LayerLayout.of(
    {"front.w": (4,), "norm.a": (2,), **{f"blocks.{n}.{part}": (3,) for n in range(19) for part in "wb"}}
)


@pytest.mark.parametrize("most", [1, 2, MOST_GROUPS, 20, 21, 1000])
def test_every_tensor_is_in_one_group_and_the_groups_are_few(most):
    groups = layer_groups(DEEP, most)
    assert sorted(one for group in groups for one in group.tensors) == list(range(len(DEEP)))
    assert len(groups) <= most and len({group.name for group in groups}) == len(groups)


def test_tensors_of_a_layer_stay_together_in_any_order():
    """Clip groups order the vector by patterns, so a layer need not be one part of it."""
    layout = LayerLayout.of({"blocks.0.w": (2,), "blocks.1.w": (2,), "blocks.0.norm": (1,), "out": ()})
    assert [(one.name, one.tensors) for one in layer_groups(layout)] == [
        *(("blocks.0", (0, 2)), ("blocks.1", (1,)), ("out", (3,))),
    ]
