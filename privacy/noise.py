"""Gaussian noise that nobody can predict, rounded to whole grid steps and added to integer sums.

The generator is AES-128 in counter mode under a key from ``os.urandom`` that lives only in this process's
memory: never returned, stored, pickled or seeded. Whoever knew the key could subtract the noise.

Said honestly: it is Box and Muller's formula in float64 on a cryptographic stream, not an exact sampler. At
2**20 steps per clip bound, float64 places the border between two whole steps to about 2**-31 of a step: a
relative error of that size per value.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, Protocol

import numpy as np

from privacy.normal_stream import CHUNK, NormalStream
from privacy.validate import positive, whole

_WORTH_A_THREAD = 1 << 20
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
        share randomness, across calls, threads and processes: every stream has its own key, the key
        cannot be copied or pickled, and a forked child is refused.

    Args:
        threads: how many streams may work at once; by default as many as the machine has cores.
    """

    def __init__(self, threads: int | None = None) -> None:
        count = whole(1, threads=threads or os.cpu_count() or 1)
        self._generators = [NormalStream() for _ in range(count)]
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
        self._spread(_add, sums, np.dtype(np.int64), std_steps)

    def add_and_round_(self, centres: Reals, std_steps: float) -> None:
        """Replace real centres m by round(m + Y), Y ~ N(0, std^2 I), in place.

        Args:
            centres: contiguous float64, one dimension, in grid steps; whole numbers afterwards.
            std_steps: as for `add_rounded_`.
        """
        self._spread(_add_and_round, centres, np.dtype(np.float64), std_steps)

    def _spread(
        self, work: Callable[..., None], values: Integers | Reals, dtype: np.dtype[Any], std_steps: float
    ) -> None:
        """Share the values among the generators, each in a thread of its own."""
        _check(values, dtype, std_steps)
        if os.getpid() != self._process:
            raise RuntimeError("A forked process must make its own SecureGaussian: noise may not repeat.")
        workers = min(len(self._generators), max(1, values.size // _WORTH_A_THREAD))
        shares = np.array_split(values, workers)
        if workers == 1:
            work(self._generators[0], shares[0], std_steps)
            return
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, self._generators[:workers], shares, [std_steps] * workers))

    def __getstate__(self) -> NoReturn:
        raise TypeError("A SecureGaussian holds a secret key and cannot be pickled or copied.")


def _check(values: Integers | Reals, dtype: np.dtype[Any], std_steps: float) -> None:
    if values.dtype != dtype or values.ndim != 1 or not values.flags.c_contiguous:
        raise ValueError(
            f"Expected contiguous one-dimensional {dtype} sums, got {values.dtype} of shape {values.shape}."
        )
    if positive(std_steps=std_steps) > _LARGEST_STD_STEPS:
        raise ValueError(f"Expected std_steps <= {_LARGEST_STD_STEPS:.3g}, got std_steps={std_steps!r}.")


def _add(stream: NormalStream, sums: Integers, std_steps: float) -> None:
    from privacy.box_muller import add_rounded_  # here, since many a command never comes here

    for part, noise in _noise_of(stream, sums, std_steps):
        add_rounded_(part, noise)


def _add_and_round(stream: NormalStream, centres: Reals, std_steps: float) -> None:
    for part, noise in _noise_of(stream, centres, std_steps):
        part += noise
        np.rint(part, out=part)


def _noise_of(
    stream: NormalStream, values: np.ndarray[tuple[int], Any], std_steps: float
) -> Iterator[tuple[np.ndarray[tuple[int], Any], Reals]]:
    """Each block of the values with fresh noise for it; the noise's memory is used again."""
    noise = np.empty(min(CHUNK, values.size))
    for start in range(0, values.size, CHUNK):
        part = values[start : start + CHUNK]
        stream.normal(noise[: part.size], std_steps)
        yield part, noise[: part.size]
