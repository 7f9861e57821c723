"""Noise that remembers the last rounds: the streaming form of `privacy.noise.banded_matrix`.

With c_0 .. c_(b-1) the bands of C and p_k = c_k / c_0, round t's whole-number noise is

    v_t = round(z_t / c_0 - sum over k = 1 .. b-1 of p_k v_(t-k)),      z_t ~ N(0, (z C)^2 I) afresh,

and what is released is r_t = x_t + v_t, all in grid steps. Only b - 1 past noises are kept, as integers, and
the oldest one's memory takes the new one.

**What is claimed.** x_t is whole, so with v_(t-k) = r_(t-k) - x_(t-k) the release is

    r_t = round((C x + z)_t / c_0 - sum of p_k r_(t-k)):

a function of the *continuous* Gaussian mechanism C x + z and of what was released before. It is exactly
post-processing, although the noise itself is rounded and fed back; v is then not C^-1 z to the last digit
(rounding errors enter it, half a step each), which touches utility by parts in 2**bits and privacy not at
all. "Exactly" needs exact arithmetic: every p_k is a whole number over 2**20, and so the sum of p_k v_(t-k)
is an int64 in units of 2**-20, which the sampler rounds together with z_t / c_0 (`privacy.noise.secure`).

The past noises are as secret as a noise key: with them the sums could be laid bare. They live in this process
only and are in no checkpoint. A run that is resumed starts a new matrix, and its plan a new cycle of charges.
"""

from collections import deque
from collections.abc import Iterator
from typing import NoReturn

import torch

from privacy.clipping.bounds import ClipBounds
from privacy.clipping.quantisation import Quantiser
from privacy.noise.banded_matrix import RATIO_BITS, band_ratios, square_root_bands, step_gain
from privacy.noise.independent import NoisedBlock, blocks
from privacy.noise.secure import CENTRE_BITS, Integers, NoiseSource
from privacy.noise.shape import relative_stds
from privacy.validate import positive

_GAIN_HORIZON = 4096
_NEVER_BEYOND_STDS = 40
_EXACT_BELOW = 2**62


class BandedNoise:
    """Noise correlated over `bands` rounds, of a shape (`privacy.noise.shape`).

    Guarantee:
        All rounds of this object together are post-processing of the Gaussian mechanism C x + z with noise
        multiplier z per participation, for everyone who takes part at most once in any `bands` consecutive
        rounds. (`draw_cohort` sees to that, `PrivacyPlan.charge` accounts for it.)
    """

    def __init__(self, bands: int, shape: str = "isotropic") -> None:
        self.shape = shape
        self._ratios = [ratio << (CENTRE_BITS - RATIO_BITS) for ratio in band_ratios(bands)]
        self._first = float(square_root_bands(bands)[0])
        self._gain = step_gain(bands, _GAIN_HORIZON)
        self._past: deque[torch.Tensor] = deque()
        self._terms: object = None
        self._usable = True

    def noised_blocks(
        self,
        sums: torch.Tensor,
        bounds: ClipBounds,
        quantiser: Quantiser,
        noise_multiplier: float,
        source: NoiseSource,
    ) -> Iterator[NoisedBlock]:
        """See `privacy.noise.independent.RoundNoise`. All blocks must be taken.

        Raises:
            ValueError: for a noise multiplier of 0 or one too large for exact sums, or if noise, shape or
                size changed between rounds.
            RuntimeError: after a round that was not noised to its end.
        """
        positive(noise_multiplier=noise_multiplier)
        self._hold_terms((sums.numel(), quantiser.bits, noise_multiplier, relative_stds(self.shape, bounds)))
        largest = self._largest(bounds, quantiser, noise_multiplier)
        self._usable = False
        fresh = self._room(sums.numel(), largest)
        for begin, end, std_steps in blocks(self.shape, bounds, quantiser, noise_multiplier):
            noise = self._noise(begin, end, std_steps, source)
            self._require_within(largest, noise)
            fresh[begin:end] = noise
            block: Integers = noise.add_(sums[begin:end]).numpy()
            yield begin, end, block
        self._remember(fresh)
        self._usable = True

    def _noise(self, begin: int, end: int, std_steps: float, source: NoiseSource) -> torch.Tensor:
        """v_t on one block, int64."""
        centre = torch.zeros(end - begin, dtype=torch.int64)  # in units of 2**-CENTRE_BITS
        for ratio, past in zip(self._ratios[1:], self._past, strict=False):
            centre.add_(past[begin:end], alpha=-ratio)
        source.add_and_round_(centre.numpy(), std_steps / self._first)
        return centre

    def _hold_terms(self, terms: object) -> None:
        if not self._usable:
            raise RuntimeError("A round's correlated noise was left unfinished: resume from a checkpoint.")
        if self._terms not in (None, terms):
            raise ValueError(
                "Correlated noise needs the same noise multiplier, grid bits and noise shape in every round; "
                "with bounds that adapt, use noise shape 'isotropic'."
            )
        self._terms = terms

    def _largest(self, bounds: ClipBounds, quantiser: Quantiser, noise_multiplier: float) -> float:
        """A size that noise reaches with a chance below e**-700 a value; refused if sums could overflow."""
        fresh = max(relative_stds(self.shape, bounds)) * quantiser.noise_std_steps(noise_multiplier)
        largest = _NEVER_BEYOND_STDS * self._gain * (fresh + 1)  # one step covers what rounding feeds back
        if largest * sum(self._ratios) >= _EXACT_BELOW:
            raise ValueError(
                f"Noise of {fresh:.3g} grid steps over {len(self._ratios)} bands is too large for exact "
                f"sums in 64 bits: use fewer bands, less noise than z={noise_multiplier} or fewer grid bits."
            )
        return largest

    def _require_within(self, largest: float, noise: torch.Tensor) -> None:
        """What `_largest` says must hold, or sums would not be exact. It depends on the noise alone."""
        if noise.numel() and max(-int(noise.min()), int(noise.max())) >= largest:
            raise RuntimeError(
                f"Correlated noise beyond {_NEVER_BEYOND_STDS} standard deviations: something is broken. "
                "Resume from a checkpoint."
            )

    def _room(self, size: int, largest: float) -> torch.Tensor:
        """Where this round's noise is kept: the oldest noise's memory once enough are held.

        The oldest is read, block by block, before its block is overwritten.
        """
        if self._past and len(self._past) == len(self._ratios) - 1:
            return self._past[-1]
        return torch.zeros(size, dtype=torch.int32 if largest < 2**31 else torch.int64)

    def _remember(self, fresh: torch.Tensor) -> None:
        if self._past and self._past[-1] is fresh:
            self._past.pop()
        if len(self._ratios) > 1:
            self._past.appendleft(fresh)

    def __getstate__(self) -> NoReturn:
        raise TypeError("BandedNoise holds secret noise and cannot be pickled or copied.")
