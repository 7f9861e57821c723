"""Where and how a model computes: the device, the arithmetic of its blocks, and whether they are compiled.

One recipe serves nodes of every kind, so what it asks of a GPU is not an error on a node without one: a
CPU computes in float32, not compiled, and says so once. On a CPU without bfloat16 instructions autocast
is several times slower than float32, and compiling takes longer than a short run.

Parameters, gradients, updates and the loss are float32 whatever this says.
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
    """How to compute on `device`; make it with `choose`."""

    device: torch.device
    precision: Precision
    compile: bool

    @classmethod
    def choose(
        cls, *, precision: Precision = "float32", compile: bool = False, device: str | None = None
    ) -> "Compute":
        """What is asked for as far as `device` (by default a GPU if there is one) is made for it.

        Raises `ValueError` for an unknown precision, or a device that is not there.
        """
        if precision not in _AUTOCAST:
            raise ValueError(f"precision={precision!r} must be {' or '.join(map(repr, _AUTOCAST))}.")
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if place.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                f"device={device!r}: torch sees no GPU here; use 'cpu', or a torch built for it."
            )
        if place.type == "cpu":
            if precision != "float32" or compile:
                _say_once(f"precision={precision!r} and compile={compile} are for a GPU, and there is none")
            return cls(device=place, precision="float32", compile=False)
        return cls(device=place, precision=precision, compile=compile)

    def place(self, model: nn.Module) -> None:
        """Move `model` to the device, and compile its `blocks` if that was chosen.

        The blocks are alike, so one compilation serves them all; layer drop stays outside of it.
        """
        model.to(self.device)
        if self.compile:
            for block in model.get_submodule("blocks").children():
                block.compile(dynamic=True)

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """The context for a forward pass and its loss."""
        dtype = _AUTOCAST[self.precision]
        if dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=dtype)


@lru_cache
def _say_once(what: str) -> None:
    log.warning("%s: this process computes in float32, not compiled", what)
