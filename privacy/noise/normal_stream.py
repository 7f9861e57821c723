"""An endless stream of rounded normals from AES, under a key that nobody can see.

The keystream is AES-128 in counter mode, by OpenSSL. Its key comes from ``os.urandom`` and exists only inside
the cipher. A block of 128 bits makes two normals (`privacy.noise.rounded_normals`). The few pairs that one
block does not settle take further blocks.
"""

import os
import struct
from typing import NoReturn

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_PAIRS = 1 << 14
CHUNK = 2 * _PAIRS
"""Values per call: enough that the calls cost little, few enough that all data stays in a core's caches."""
_BLOCK = 16  # bytes: one radius word and one angle word
_ZEROS = bytes(_BLOCK * _PAIRS)

Integers = np.ndarray[tuple[int], np.dtype[np.int64]]
Words = npt.NDArray[np.uint64]


class NormalStream:
    """An endless stream of independent standard normals under a key of its own.

    Guarantee:
        What is added is exactly round(m + std N), given that the keystream's bits are fair coins
        (`RoundedNormals`). No part of the keystream is used for two pairs. The key cannot be seen, set,
        copied or pickled. A forked process would repeat the stream: the owner of a stream must refuse to use
        it there (`SecureGaussian` does).

    Example:
        >>> sums = np.zeros(3, dtype=np.int64)
        >>> NormalStream().add_rounded_(sums, std=1e6)  # values near 10**6 that no one can predict
        >>> bool(sums.any())
        True
    """

    def __init__(self) -> None:
        from privacy.noise.rounded_normals import (
            RoundedNormals,  # imported here, because many commands never need it
        )

        self._cipher = Cipher(algorithms.AES(os.urandom(16)), modes.CTR(bytes(16))).encryptor()
        self._bytes = bytearray(len(_ZEROS) + 15)  # the cipher asks for a block less one more
        self._words = np.frombuffer(self._bytes, dtype=np.uint64, count=CHUNK)
        self._normals = RoundedNormals(_PAIRS, self._two_words)

    def add_rounded_(self, sums: Integers, std: float, fraction_bits: int = 0) -> None:
        """sums = round(sums / 2**fraction_bits + std N), in place and modulo 2**64.

        Args:
            sums: int64, one dimension, contiguous.
            std: the standard deviation.
            fraction_bits: 0 for integers; up to 32 for numbers with binary places.
        """
        whole = sums.size - sums.size % CHUNK
        for start in range(0, whole, CHUNK):
            pairs = sums[start : start + CHUNK].reshape(2, _PAIRS)
            self._normals.add_(pairs, self._fresh_words(_PAIRS), std, fraction_bits)
        if rest := sums.size - whole:
            pairs = np.zeros((2, (rest + 1) // 2), dtype=np.int64)
            pairs.ravel()[:rest] = sums[whole:]
            self._normals.add_(pairs, self._fresh_words(pairs.shape[1]), std, fraction_bits)
            sums[whole:] = pairs.ravel()[:rest]

    def __getstate__(self) -> NoReturn:
        raise TypeError("A NormalStream holds a secret key and cannot be pickled or copied.")

    def _fresh_words(self, pairs: int) -> Words:
        """Random uint64 values, shape (2, pairs), valid until the next call."""
        self._cipher.update_into(memoryview(_ZEROS)[: _BLOCK * pairs], self._bytes)
        return self._words[: 2 * pairs].reshape(2, pairs)

    def _two_words(self) -> tuple[int, int]:
        """Two more random words."""
        radius, angle = struct.unpack("=QQ", self._cipher.update(bytes(_BLOCK)))
        return radius, angle
