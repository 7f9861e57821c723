"""How names, shapes and values of tensors enter a digest: in one way wherever two models are compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from hashlib import _Hash


def add_tensors(digest: _Hash, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Add tensors to a digest, by their names, in their order.

    Guarantee: server and nodes, and files of earlier releases, have digests that were made in this way. A
    change of it is a change of the protocol.

    Example:
        >>> import hashlib
        >>> made = hashlib.sha256()
        >>> add_tensors(made, [("bias", torch.zeros(2))])
        >>> made.hexdigest()[:8]
        '2c780c8d'
    """
    for name, value in tensors:
        digest.update(repr((name, tuple(value.shape))).encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
