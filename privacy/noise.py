"""Gaussian noise that nobody can predict, rounded to whole grid steps and added to integer sums.

The generator is AES-128 in counter mode under a key from ``os.urandom`` that lives only in this process's
memory: never returned, stored, pickled or seeded. Whoever knew the key could subtract the noise.

Said honestly: it is Box and Muller's formula in float64 on a cryptographic stream, not an exact sampler. At
2**20 steps per clip bound, float64 places the border between two whole steps to about 2**-31 of a step: a
relative error of that size per value.
"""

import os
from threading import Lock
from typing import Any, NoReturn, Protocol

import numpy as np

from privacy.normal_stream import CHUNK, NormalStream
from privacy.validate import positive

_LARGEST_STD_STEPS = 2.0**44  # far above any use; beyond it float64 could not tell single steps apart

Integers = np.ndarray[tuple[int], np.dtype[np.int64]]
Reals = np.ndarray[tuple[int], np.dtype[np.float64]]


class NoiseSource(Protocol):
    """Where Gaussian noise comes from."""

    def add_rounded_(self, sums: Integers, std_steps: float) -> None:
        """Add round(Y), Y ~ N(0, std_steps^2 I), to int64 sums (n,) in place."""
        ...

    def add_and_round_(self, centres: Reals, std_steps: float) -> None:
        """Replace float64 centres m (n,) by the whole numbers round(m + Y), in place."""
        ...


class SecureGaussian:
    """A source of Gaussian noise for one process.

    Guarantee:
        `add_rounded_` turns integer sums x of L2 sensitivity 2**bits into x + round(Y), Y ~ N(0, std^2 I).
        As x is whole, x + round(Y) = round(x + Y): a post-processing of the *continuous* Gaussian mechanism
        of noise multiplier std / 2**bits, so RDP and PLD of that mechanism hold as they stand. No two draws
        share randomness: every source has its own key, which cannot be copied or pickled, threads wait for
        one another, and a forked child is refused.
    """

    def __init__(self) -> None:
        self._stream, self._turn = NormalStream(), Lock()
        self._process = os.getpid()

    def add_rounded_(self, sums: Integers, std_steps: float) -> None:
        """Add rounded Gaussian noise to integer sums, in place.

        Args:
            sums: contiguous int64, one dimension, in grid steps; owned by the caller.
            std_steps: the standard deviation in grid steps, ``grid.noise_std_steps(z)``.

        Raises:
            ValueError: for another array or a standard deviation that is not positive and finite.
            RuntimeError: in a process forked from the one that made this object.
        """
        self._check(sums, np.dtype(np.int64), std_steps)
        with self._turn:
            self._stream.add_rounded_(sums, std_steps)

    def add_and_round_(self, centres: Reals, std_steps: float) -> None:
        """Replace real centres m by round(m + Y), Y ~ N(0, std^2 I), in place.

        Args:
            centres: contiguous float64, one dimension, in grid steps; whole numbers afterwards.
            std_steps: as for `add_rounded_`.
        """
        self._check(centres, np.dtype(np.float64), std_steps)
        noise = np.empty(min(CHUNK, centres.size))
        for start in range(0, centres.size, CHUNK):
            part = centres[start : start + CHUNK]
            with self._turn:
                self._stream.normal(noise[: part.size], std_steps)
            part += noise[: part.size]
            np.rint(part, out=part)

    def _check(self, values: np.ndarray[Any, Any], dtype: np.dtype[Any], std_steps: float) -> None:
        if values.dtype != dtype or values.ndim != 1 or not values.flags.c_contiguous:
            raise ValueError(
                f"Expected contiguous one-dimensional {dtype} sums, "
                f"got {values.dtype} of shape {values.shape}."
            )
        if positive(std_steps=std_steps) > _LARGEST_STD_STEPS:
            raise ValueError(f"Expected std_steps <= {_LARGEST_STD_STEPS:.3g}, got std_steps={std_steps!r}.")
        if os.getpid() != self._process:
            raise RuntimeError("A forked process must make its own SecureGaussian: noise may not repeat.")

    def __getstate__(self) -> NoReturn:
        raise TypeError("A SecureGaussian holds a secret key and cannot be pickled or copied.")
