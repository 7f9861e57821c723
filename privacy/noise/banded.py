"""Noise that is correlated over rounds: the streaming form of `privacy.noise.banded_matrix`.

Let c_0 .. c_(b-1) be the bands of C, and p_k = c_k / c_0. The integer noise of round t is

    v_t = round(z_t / c_0 - sum over k = 1 .. b-1 of p_k v_(t-k)),      z_t ~ N(0, (z C)^2 I) afresh,

and the release is r_t = x_t + v_t, all in quantisation steps. Only the last b - 1 noises are kept, as
integers. The new noise is written into the memory of the oldest.

**The claim.** x_t is an integer vector, so with v_(t-k) = r_(t-k) - x_(t-k) the release is

    r_t = round((C x + z)_t / c_0 - sum of p_k r_(t-k)):

a function of the *continuous* Gaussian mechanism C x + z and of earlier releases. So it is exactly
post-processing, although the noise itself is rounded and fed back. v differs from C^-1 z by rounding errors
of half a step each. They change utility by parts in 2**bits, and they do not change privacy. "Exactly" needs
exact arithmetic: every p_k is an integer over 2**20, so the sum of p_k v_(t-k) is an int64 in units of
2**-20, and the sampler rounds it together with z_t / c_0 (`privacy.noise.secure`).

The past noises are as secret as a noise key: they would reveal the sums. They exist in this process only, and
no checkpoint holds them. A resumed run starts a new matrix, and its plan starts a new cycle of charges.
"""

from collections import deque
from collections.abc import Iterator
from typing import NoReturn

import torch

from privacy.accounting.releases import Release
from privacy.clipping.bounds import ClipBounds
from privacy.clipping.quantisation import Quantiser
from privacy.noise.banded_matrix import RATIO_BITS, band_ratios, square_root_bands, step_gain
from privacy.noise.independent import NoisedBlock, blocks
from privacy.noise.secure import CENTRE_BITS, Integers, NoiseSource
from privacy.noise.shape import relative_stds
from privacy.plan import PrivacyPlan
from privacy.validate import positive

_GAIN_HORIZON = 4096
_NEVER_BEYOND_STDS = 40
_EXACT_BELOW = 2**62


class BandedNoise:
    """Noise that is correlated over `bands` rounds, of one shape (`privacy.noise.shape`).

    Guarantee:
        All rounds of this object together are post-processing of the Gaussian mechanism C x + z with noise
        multiplier z per participation, for every speaker who takes part at most once in any `bands`
        consecutive rounds. (`draw_cohort` ensures that; `PrivacyPlan.charge` accounts for it.)

    Example:
        >>> from privacy.noise.secure import SecureGaussian
        >>> bounds = ClipBounds(offsets=(0, 3), bounds=(1.0,))
        >>> noise, sums = BandedNoise(bands=4), torch.zeros(3, dtype=torch.int64)
        >>> for begin, end, block in noise.noised_blocks(
        ...     sums, bounds, Quantiser.of(bounds), 1.0, SecureGaussian()
        ... ):
        ...     print(begin, end, block.dtype)
        0 3 int64
    """

    def __init__(self, bands: int, shape: str = "isotropic") -> None:
        self.shape = shape
        self._ratios = [ratio << (CENTRE_BITS - RATIO_BITS) for ratio in band_ratios(bands)]
        self._first = float(square_root_bands(bands)[0])
        self._gain = step_gain(bands, _GAIN_HORIZON)
        self._past: deque[torch.Tensor] = deque()
        self._terms: object = None
        self._usable = True

    def accounting(self, plan: PrivacyPlan) -> Release | None:
        """The plan's release if the plan has as many bands; no accounting covers another number of bands."""
        return plan.release if plan.bands == len(self._ratios) else None

    def noised_blocks(
        self,
        sums: torch.Tensor,
        bounds: ClipBounds,
        quantiser: Quantiser,
        noise_multiplier: float,
        source: NoiseSource,
    ) -> Iterator[NoisedBlock]:
        """See `privacy.noise.independent.RoundNoise`. The caller must take all blocks.

        Raises:
            ValueError: for a noise multiplier of 0, for one that is too large for exact sums, or if noise
                multiplier, shape or size changed between rounds.
            RuntimeError: if an earlier round was not noised to its end.
        """
        positive(noise_multiplier=noise_multiplier)
        relative = relative_stds(self.shape, bounds)
        self._require_same_terms((sums.numel(), quantiser.bits, noise_multiplier, relative))
        largest = self._largest(max(relative) * quantiser.noise_std_steps(noise_multiplier), noise_multiplier)
        self._usable = False
        fresh = self._memory(sums.numel(), largest)
        for begin, end, std_steps in blocks(relative, bounds, quantiser, noise_multiplier):
            noise = self._noise(begin, end, std_steps, source)
            self._require_within(largest, noise)
            fresh[begin:end] = noise
            block: Integers = noise.add_(sums[begin:end]).numpy()
            yield begin, end, block
        self._remember(fresh)
        self._usable = True

    def _noise(self, begin: int, end: int, std_steps: float, source: NoiseSource) -> torch.Tensor:
        """v_t of one block, int64."""
        centre = torch.zeros(end - begin, dtype=torch.int64)  # in units of 2**-CENTRE_BITS
        for ratio, past in zip(self._ratios[1:], self._past, strict=False):
            centre.add_(past[begin:end], alpha=-ratio)
        source.add_and_round_(centre.numpy(), std_steps / self._first)
        return centre

    def _require_same_terms(self, terms: object) -> None:
        if not self._usable:
            raise RuntimeError(
                "The correlated noise of an earlier round is incomplete: resume from a checkpoint."
            )
        if self._terms not in (None, terms):
            raise ValueError(
                "Correlated noise needs the same noise multiplier, quantisation bits and noise shape in each "
                "round; with adaptive bounds, use noise shape 'isotropic'."
            )
        self._terms = terms

    def _largest(self, std_steps: float, noise_multiplier: float) -> float:
        """A limit that a noise value reaches with a probability below e**-700.

        Args:
            std_steps: the largest standard deviation of fresh noise, in steps.
            noise_multiplier: z, for the message.

        Raises:
            ValueError: if sums of noise up to this limit could overflow.
        """
        largest = _NEVER_BEYOND_STDS * self._gain * (std_steps + 1)  # one step covers the rounding fed back
        if largest * sum(self._ratios) >= _EXACT_BELOW:
            raise ValueError(
                f"Noise of {std_steps:.3g} quantisation steps over {len(self._ratios)} bands is too large "
                f"for exact sums in 64 bits: use fewer bands, less noise than z={noise_multiplier}, or fewer "
                "quantisation bits."
            )
        return largest

    def _require_within(self, largest: float, noise: torch.Tensor) -> None:
        """Check the limit of `_largest`: beyond it sums are not exact. This depends on the noise alone."""
        if noise.numel() and max(-int(noise.min()), int(noise.max())) >= largest:
            raise RuntimeError(
                f"Correlated noise is beyond {_NEVER_BEYOND_STDS} standard deviations: the noise source is "
                "broken. Resume from a checkpoint."
            )

    def _memory(self, size: int, largest: float) -> torch.Tensor:
        """Memory for this round's noise: the oldest noise's memory, once b - 1 noises are kept.

        Each block of the oldest noise is read before it is overwritten.
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
