"""Device and precision of a model, and whether its blocks are compiled.

One recipe serves all nodes, so its settings for a GPU are no error on a node without one: a CPU computes in
float32, not compiled, and logs that once. On a CPU without bfloat16 instructions autocast is several times
slower than float32, and compilation takes longer than a short run.

Guarantee: parameters, gradients, updates and the loss are float32 with every setting.
"""

import contextlib
import logging
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import nn

log = logging.getLogger("murmuration.speech")

Precision = Literal["float32", "bfloat16"]
_AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Device, precision and compilation of a model; made by `choose`.

    Example:
        >>> compute = Compute.choose(precision="bfloat16", device="cpu")
        >>> compute.device.type, compute.precision, compute.compile
        ('cpu', 'float32', False)
    """

    device: torch.device
    precision: Precision
    compile: bool

    @classmethod
    def choose(
        cls, *, precision: Precision = "float32", compile: bool = False, device: str | None = None
    ) -> "Compute":
        """Return the requested settings, or those of a CPU.

        Args:
            precision: The precision of the blocks on a GPU.
            compile: Whether to compile the blocks on a GPU.
            device: Any device of torch; by default a GPU if there is one.

        Raises:
            ValueError: For an unknown precision, or a device that this machine lacks.
        """
        if precision not in _AUTOCAST:
            raise ValueError(f"precision={precision!r} must be {' or '.join(map(repr, _AUTOCAST))}.")
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if place.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                f"device={device!r}: torch finds no GPU here; use 'cpu', or a torch built for it."
            )
        if place.type == "cpu":
            if precision != "float32" or compile:
                _warn_once(f"precision={precision!r} and compile={compile} need a GPU, and there is none")
            return cls(device=place, precision="float32", compile=False)
        return cls(device=place, precision=precision, compile=compile)

    def place(self, model: nn.Module) -> None:
        """Move `model` to the device, and compile it if `compile` is set: its `blocks`, if it has such.

        The blocks are equal in shape, so one compilation serves all of them. Layer drop is not compiled.
        """
        model.to(self.device)
        if self.compile:
            blocks = getattr(model, "blocks", None)
            for block in [model] if blocks is None else blocks.children():
                block.compile(dynamic=True)

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """Return the context for a forward pass and its loss."""
        dtype = _AUTOCAST[self.precision]
        if dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=dtype)


@lru_cache
def _warn_once(what: str) -> None:
    log.warning("%s: this process computes in float32, not compiled", what)
