"""Normal numbers from AES: a keystream that nobody can predict, taken to normals by Box and Muller's formula.

The keystream is AES-128 in counter mode, by OpenSSL, under a key from ``os.urandom`` that lives only inside
the cipher. Of each pair of 64-bit words one gives a radius and one an angle, in float64; unlike a rejection
sampler this has no branches, so that vector instructions do it (`privacy.box_muller`).

The radius has 63 bits and ends at sqrt(128 ln 2) = 9.4: the missing tail is of probability 2**-64 a pair.
"""

import os
from typing import NoReturn

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_PAIRS = 1 << 13
CHUNK = 2 * _PAIRS
"""Values made at a time: their words and they themselves stay in a core's second cache."""
_ZEROS = bytes(16 * _PAIRS)

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
        self._words = np.frombuffer(self._bytes, dtype=np.uint64, count=CHUNK)

    def normal(self, out: Floats, std: float = 1.0) -> None:
        """Fill a one-dimensional, contiguous float64 array with normals of this standard deviation."""
        whole = out.size - out.size % CHUNK
        for start in range(0, whole, CHUNK):
            self._fill(out[start : start + CHUNK].reshape(2, _PAIRS), std)
        if rest := out.size - whole:
            pairs = np.empty((2, (rest + 1) // 2))
            self._fill(pairs, std)
            out[whole:] = pairs.ravel()[:rest]

    def __getstate__(self) -> NoReturn:
        raise TypeError("A NormalStream holds a secret key and cannot be pickled or copied.")

    def _fill(self, out: npt.NDArray[np.float64], std: float) -> None:
        """Fill (2, n) from 2 n fresh words."""
        from privacy.box_muller import normals  # here, since many a command never comes here

        pairs = out.shape[1]
        self._cipher.update_into(memoryview(_ZEROS)[: 16 * pairs], self._bytes)
        normals(self._words[:pairs], self._words[pairs : 2 * pairs], out, std)
