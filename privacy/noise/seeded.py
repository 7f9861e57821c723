"""Fast noise that a seed repeats: for simulations, and **not private**.

Anyone who knows the seed can subtract the noise. A plan whose noise source is 'seeded-not-private' has an
infinite epsilon: in the plan, in the ledger, and in every file that a run writes. This is the only module of
the privacy core that may use an ordinary generator.
"""

import numpy as np
import torch

from privacy.noise.secure import CENTRE_BITS, Integers

_BLOCK = 1 << 16
_SEEDS = 2**63

Reals = np.ndarray[tuple[int], np.dtype[np.float64]]


class SeededGaussian:
    """A `privacy.noise.secure.NoiseSource` for one round: the same seed and round give the same noise.

    Example:
        >>> first, second = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
        >>> SeededGaussian(seed=7, round_number=1).add_rounded_(first, 1000.0)
        >>> SeededGaussian(seed=7, round_number=1).add_rounded_(second, 1000.0)
        >>> bool((first == second).all())
        True
    """

    def __init__(self, seed: int, round_number: int) -> None:
        self._generator = torch.Generator().manual_seed((seed * 0x9E3779B97F4A7C15 + round_number) % _SEEDS)

    def add_rounded_(self, sums: Integers, std_steps: float) -> None:
        """Add round(Y), Y ~ N(0, std_steps^2 I), to int64 sums (n,), in place."""
        for start in range(0, sums.size, _BLOCK):
            part = sums[start : start + _BLOCK]
            part += np.rint(self._noise(part.size, std_steps)).astype(np.int64)

    def add_and_round_(self, centres: Integers, std_steps: float) -> None:
        """Replace centres m (n,), int64 in units of 2**-CENTRE_BITS, by round(m + Y), in place."""
        for start in range(0, centres.size, _BLOCK):
            part = centres[start : start + _BLOCK]
            part[:] = np.rint(part * 2.0**-CENTRE_BITS + self._noise(part.size, std_steps))

    def _noise(self, size: int, std_steps: float) -> Reals:
        noise = torch.empty(size, dtype=torch.float32).normal_(generator=self._generator)
        scaled: Reals = noise.to(torch.float64).mul_(std_steps).numpy()
        return scaled
