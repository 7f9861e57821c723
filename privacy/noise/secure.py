"""Gaussian noise that nobody can predict, rounded to whole quantisation steps and added to integer sums.

The generator is AES-128 in counter mode. Its key comes from ``os.urandom`` and exists only in the memory of
this process: it is never returned, stored, pickled or seeded. Anyone who knew the key could subtract the
noise.

Given random bits, the added noise is distributed exactly as round(m + Y) for a Gaussian Y.
`privacy.noise.exact_normals` defines it, `privacy.noise.rounded_normals` computes it, and docs/privacy.md has
the proof.
"""

import os
from threading import Lock
from typing import Any, NoReturn, Protocol

import numpy as np

from privacy.noise.normal_stream import NormalStream
from privacy.validate import positive

CENTRE_BITS = 20
"""Centres are in units of 2**-CENTRE_BITS of a step."""
# Far above any use. From 2**39 on `ExactNormals` must settle all pairs, about 5,000 per second.
_LARGEST_STD_STEPS = 2.0**44

Integers = np.ndarray[tuple[int], np.dtype[np.int64]]


class NoiseSource(Protocol):
    """A source of Gaussian noise."""

    def add_rounded_(self, sums: Integers, std_steps: float) -> None:
        """Add round(Y), Y ~ N(0, std_steps^2 I), to int64 sums (n,), in place."""
        ...

    def add_and_round_(self, centres: Integers, std_steps: float) -> None:
        """Replace centres m (n,), int64 in units of 2**-CENTRE_BITS, by round(m + Y), in place."""
        ...


class SecureGaussian:
    """A secure source of Gaussian noise for one process.

    Guarantee:
        `add_rounded_` turns integer sums x of L2 sensitivity 2**bits into x + round(Y), Y ~ N(0, std^2 I).
        As x is an integer vector, x + round(Y) = round(x + Y): this is post-processing of the *continuous*
        Gaussian mechanism with noise multiplier std / 2**bits. So the RDP and PLD of that mechanism apply
        unchanged. The integer is exactly that one, tails included, given that AES-128 and ``os.urandom``
        return random bits (`privacy.noise.normal_stream`). No two draws share randomness: every source has
        its own key, which cannot be copied or pickled; threads wait for each other; a forked child process
        is refused.

    Example:
        >>> sums = np.zeros(4, dtype=np.int64)
        >>> SecureGaussian().add_rounded_(sums, std_steps=2.0**20)
        >>> bool(sums.any())
        True
    """

    def __init__(self) -> None:
        self._stream, self._turn = NormalStream(), Lock()
        self._process = os.getpid()

    def add_rounded_(self, sums: Integers, std_steps: float) -> None:
        """Add rounded Gaussian noise to integer sums, in place.

        Args:
            sums: contiguous int64, one dimension, in quantisation steps; owned by the caller.
            std_steps: the standard deviation in steps, ``quantiser.noise_std_steps(z)``.

        Raises:
            ValueError: for another array or a standard deviation that is not positive and finite.
            RuntimeError: in a process forked from the one that made this object.
        """
        self._add(sums, std_steps, 0)

    def add_and_round_(self, centres: Integers, std_steps: float) -> None:
        """Replace centres m by round(m + Y), Y ~ N(0, std^2 I), in place.

        Args:
            centres: contiguous int64, one dimension, in units of 2**-CENTRE_BITS of a step, so that m is
                exact. Afterwards they are in steps.
            std_steps: as for `add_rounded_`.

        Raises:
            ValueError: as for `add_rounded_`.
            RuntimeError: as for `add_rounded_`.
        """
        self._add(centres, std_steps, CENTRE_BITS)

    def _add(self, values: Integers, std_steps: float, fraction_bits: int) -> None:
        self._check(values, std_steps)
        with self._turn:
            self._stream.add_rounded_(values, std_steps, fraction_bits)

    def _check(self, values: np.ndarray[Any, Any], std_steps: float) -> None:
        if values.dtype != np.int64 or values.ndim != 1 or not values.flags.c_contiguous:
            raise ValueError(
                f"Expected contiguous one-dimensional int64 sums, got {values.dtype} of shape {values.shape}."
            )
        if positive(std_steps=std_steps) > _LARGEST_STD_STEPS:
            raise ValueError(f"Expected std_steps <= {_LARGEST_STD_STEPS:.3g}, got std_steps={std_steps!r}.")
        if os.getpid() != self._process:
            raise RuntimeError("A forked process must make its own SecureGaussian: noise must not repeat.")

    def __getstate__(self) -> NoReturn:
        raise TypeError("A SecureGaussian holds a secret key and cannot be pickled or copied.")
