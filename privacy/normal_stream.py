"""Normal numbers from AES: a keystream that nobody can predict, taken to normals by Box and Muller's formula.

The keystream is AES-128 in counter mode, by OpenSSL, under a key from ``os.urandom`` that lives only inside
the cipher. Of each pair of 64-bit words one gives a radius and one an angle, in float64; unlike a rejection
sampler this has no branches, so that vector instructions do it, at several times the speed.

The radius has 63 bits and ends at sqrt(128 ln 2) = 9.4: the missing tail is of probability 2**-64 a pair.
"""

import math
import os
from typing import NoReturn

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_PAIRS = 1 << 16
_ZEROS = bytes(16 * _PAIRS)
_POSITIVE = 2**63 - 1

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]


class NormalStream:
    """An endless stream of independent standard normals under a key of its own.

    Guarantee:
        No part of the keystream is used twice, and the key can be neither seen, set, copied nor pickled.
        A forked process would repeat the stream: whoever holds one must refuse that (`SecureGaussian` does).
    """

    def __init__(self) -> None:
        self._cipher = Cipher(algorithms.AES(os.urandom(16)), modes.CTR(bytes(16))).encryptor()
        self._bytes = bytearray(len(_ZEROS) + 15)  # the cipher asks for a block less one more
        self._words = torch.frombuffer(self._bytes, dtype=torch.int64, count=2 * _PAIRS)
        self._radius, self._angle = torch.empty(2, _PAIRS, dtype=torch.float64)

    def normal(self, out: Floats, std: float = 1.0) -> None:
        """Fill a one-dimensional, contiguous float64 array with normals of this standard deviation."""
        for start in range(0, out.size, 2 * _PAIRS):
            self._fill(torch.from_numpy(out[start : start + 2 * _PAIRS]), std)

    def __getstate__(self) -> NoReturn:
        raise TypeError("A NormalStream holds a secret key and cannot be pickled or copied.")

    def _fill(self, out: torch.Tensor, std: float) -> None:
        pairs = (out.numel() + 1) // 2
        radius, angle = self._polar(pairs, std)
        torch.cos(angle, out=out[:pairs]).mul_(radius)
        rest = out.numel() - pairs
        torch.sin(angle[:rest], out=out[pairs:]).mul_(radius[:rest])

    def _polar(self, pairs: int, std: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Radii std sqrt(-2 ln U) with U in (0, 1], and angles from -pi to pi, of fresh words."""
        self._cipher.update_into(memoryview(_ZEROS)[: 16 * pairs], self._bytes)
        words = self._words[: 2 * pairs].view(2, pairs)
        radius = self._radius[:pairs].copy_(words[0].bitwise_and_(_POSITIVE))
        radius.add_(0.5).mul_(2.0**-63).log_().mul_(-2 * std * std).sqrt_()
        return radius, self._angle[:pairs].copy_(words[1]).mul_(math.pi * 2.0**-63)
