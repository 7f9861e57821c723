"""Normal numbers from AES: a keystream that nobody can predict, taken to normals by Box and Muller's formula.

The keystream is AES-128 in counter mode, by OpenSSL, under a key from ``os.urandom`` that lives only inside
the cipher. Of each pair of 64-bit words one gives a radius and one an angle, in float64; unlike a rejection
sampler this has no branches, so that vector instructions do it (`privacy.box_muller`).

The radius has 63 bits and ends at sqrt(128 ln 2) = 9.4: the missing tail is of probability 2**-64 a pair.
"""

import os
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_PAIRS = 1 << 14
CHUNK = 2 * _PAIRS
"""Values made at a time: so many that the calls do not weigh, so few that all stays in a core's caches."""
_ZEROS = bytes(16 * _PAIRS)

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
Integers = np.ndarray[tuple[int], np.dtype[np.int64]]
Words = np.ndarray[tuple[int], np.dtype[np.uint64]]


class NormalStream:
    """An endless stream of independent standard normals under a key of its own.

    Guarantee:
        No part of the keystream is used twice, and the key can be neither seen, set, copied nor pickled.
        A forked process would repeat the stream: whoever holds one must refuse that (`SecureGaussian` does).
    """

    def __init__(self) -> None:
        self._cipher = Cipher(algorithms.AES(os.urandom(16)), modes.CTR(bytes(16))).encryptor()
        self._bytes = bytearray(len(_ZEROS) + 15)  # the cipher asks for a block less one more
        self._words = np.frombuffer(self._bytes, dtype=np.uint64, count=CHUNK)

    def normal(self, out: Floats, std: float = 1.0) -> None:
        """Fill a one-dimensional, contiguous float64 array with normals of this standard deviation."""
        from privacy.box_muller import normals  # here, since many a command never comes here

        self._pass_over(out, normals, std)

    def add_rounded_(self, sums: Integers, std: float) -> None:
        """Add such normals, rounded, to a one-dimensional, contiguous int64 array in place."""
        from privacy.box_muller import add_rounded_normals_

        self._pass_over(sums, add_rounded_normals_, std)

    def __getstate__(self) -> NoReturn:
        raise TypeError("A NormalStream holds a secret key and cannot be pickled or copied.")

    def _pass_over(self, values: npt.NDArray[Any], work: Callable[..., None], std: float) -> None:
        """Do the work on all values, a chunk of them as pairs (2, n) with 2 n fresh words at a time."""
        whole = values.size - values.size % CHUNK
        for start in range(0, whole, CHUNK):
            work(*self._fresh_words(_PAIRS), values[start : start + CHUNK].reshape(2, _PAIRS), std)
        if rest := values.size - whole:
            pairs = np.zeros((2, (rest + 1) // 2), dtype=values.dtype)
            pairs.ravel()[:rest] = values[whole:]
            work(*self._fresh_words(pairs.shape[1]), pairs, std)
            values[whole:] = pairs.ravel()[:rest]

    def _fresh_words(self, pairs: int) -> tuple[Words, Words]:
        """Two arrays (pairs,) of random uint64, good until the next call."""
        self._cipher.update_into(memoryview(_ZEROS)[: 16 * pairs], self._bytes)
        return self._words[:pairs], self._words[pairs : 2 * pairs]
