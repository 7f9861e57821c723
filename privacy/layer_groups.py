"""Groups of layers: the layers of a model in their order, neighbours put together so that they are few.

Guarantee: the groups follow from the names in the layout alone, and each tensor is in exactly one. So a
server and its nodes, which have the same layout, have the same groups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from privacy.layout import LayerLayout

MOST_GROUPS = 8


@dataclass(frozen=True, kw_only=True)
class LayerGroup:
    """One layer or several that follow each other.

    Attributes:
        name: The layer; of several, the first and the last.
        tensors: The positions of its tensors in the layout, ascending.

    Example:
        >>> len(LayerGroup(name="blocks.0 to blocks.2", tensors=(4, 5, 6)).tensors)
        3
    """

    name: str
    tensors: tuple[int, ...]


def layer_groups(layout: LayerLayout, most: int = MOST_GROUPS) -> tuple[LayerGroup, ...]:
    """The groups of a model: at most `most`, of nearly equal numbers of layers.

    Example:
        >>> layout = LayerLayout.of({"front.w": (4,), "blocks.0.w": (9,), "blocks.0.b": (3,), "out.w": (4,)})
        >>> [group.name for group in layer_groups(layout)]
        ['front', 'blocks.0', 'out']
        >>> layer_groups(layout, most=2)[0]
        LayerGroup(name='front to blocks.0', tensors=(0, 1, 2))
    """
    layers: dict[str, list[int]] = {}
    for index, name in enumerate(layout.names):
        layers.setdefault(layer_of(name), []).append(index)
    names, size = list(layers), math.ceil(len(layers) / most)
    parts = (names[start : start + size] for start in range(0, len(names), size))
    return tuple(
        LayerGroup(
            name=part[0] if len(part) == 1 else f"{part[0]} to {part[-1]}",
            tensors=tuple(index for name in part for index in layers[name]),
        )
        for part in parts
    )


def layer_of(tensor: str) -> str:
    """The layer of a tensor: its name up to the first number, or its first part.

    Example:
        >>> layer_of("blocks.0.wqkv.weight"), layer_of("frontend.conv.bias"), layer_of("model.layers.3.fc1.A")
        ('blocks.0', 'frontend', 'model.layers.3')
    """
    parts = tensor.split(".")
    number = next((index for index, part in enumerate(parts) if part.isdecimal()), 0)
    return ".".join(parts[: number + 1])
