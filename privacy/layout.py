"""A model is one vector, and a layer is a named slice of it.

A `LayerLayout` is made once from the model's parameters. It maps a contiguous buffer of ``size`` values to
tensors with names and shapes: views, without a copy. Delta, clip, sum, noise, server step and checkpoint all
work on that one buffer. Two parties have the same layout exactly if its digests are equal.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch

from privacy.validate import whole


@dataclass(frozen=True, kw_only=True)
class LayerLayout:
    """Names and shapes of the layers, in the order of their values in the vector.

    Args:
        names: one non-empty, unique name per layer.
        shapes: one shape per layer; ``()`` is a scalar. Every dimension is at least 1.

    Raises:
        ValueError: for no layer, a duplicate or empty name, or a dimension below 1.

    Example:
        >>> layout = LayerLayout.of({"weight": (2, 3), "bias": (2,)})
        >>> layout.size, layout.offsets
        (8, (0, 6, 8))
        >>> layout.views(torch.arange(8.0))["bias"]
        tensor([6., 7.])
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.names or len(self.names) != len(self.shapes):
            raise ValueError(
                f"Expected as many shapes as names and at least one of each, "
                f"got {len(self.names)} names and {len(self.shapes)} shapes."
            )
        for name, shape in zip(self.names, self.shapes, strict=True):
            if not isinstance(name, str) or not name:
                raise ValueError(f"Expected layer names to be non-empty strings, got {name!r}.")
            for dimension in shape:
                whole(1, **{f"dimension of layer {name!r}": dimension})
        if len(set(self.names)) != len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise ValueError(f"Expected unique layer names, got {twice} more than once.")

    @classmethod
    def of(
        cls, named_shapes: Mapping[str, Sequence[int]] | Iterable[tuple[str, Sequence[int]]]
    ) -> "LayerLayout":
        """Make a layout from ``{name: shape}`` or pairs of name and shape, in the given order."""
        is_mapping = isinstance(named_shapes, Mapping)
        pairs = list(named_shapes.items() if is_mapping else named_shapes)  # type: ignore[union-attr]
        return cls(
            names=tuple(name for name, _ in pairs),
            shapes=tuple(tuple(int(dimension) for dimension in shape) for _, shape in pairs),
        )

    def __len__(self) -> int:
        """The number of layers, H."""
        return len(self.names)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The number of values in each layer, d_h."""
        return tuple(math.prod(shape) for shape in self.shapes)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """The begin of each layer in the vector, and at the end the vector's size: H + 1 numbers."""
        return tuple(accumulate(self.sizes, initial=0))

    @property
    def size(self) -> int:
        """The number of values of the whole model, d."""
        return self.offsets[-1]

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of names and shapes as canonical JSON: the layout's identity on the wire."""
        layers = [[name, list(shape)] for name, shape in zip(self.names, self.shapes, strict=True)]
        canonical = json.dumps(layers, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()

    def views(self, vector: torch.Tensor) -> dict[str, torch.Tensor]:
        """The layers of ``vector`` by name: views that share the vector's memory.

        Args:
            vector: contiguous, shape (d,), any dtype.

        Raises:
            ValueError: if the vector has another shape or is not contiguous.
        """
        if vector.shape != (self.size,) or not vector.is_contiguous():
            raise ValueError(
                f"Expected a contiguous vector of shape ({self.size},) for this layout, got shape "
                f"{tuple(vector.shape)}, contiguous={vector.is_contiguous()}."
            )
        begins = self.offsets
        return {
            name: vector[begins[layer] : begins[layer + 1]].view(self.shapes[layer])
            for layer, name in enumerate(self.names)
        }

    def norms(self, vector: torch.Tensor) -> list[float]:
        """The L2 norm of each layer of ``vector``, summed in 64 bits; raises as ``views``.

        Example:
            >>> LayerLayout.of({"weight": (2,), "bias": (1,)}).norms(torch.tensor([3.0, 4.0, -2.0]))
            [5.0, 2.0]
        """
        return [
            float(torch.linalg.vector_norm(layer, dtype=torch.float64))
            for layer in self.views(vector).values()
        ]
