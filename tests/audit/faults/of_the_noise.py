"""Faults of the noise: left out, too little, or not fresh."""

import os

import numpy as np

import strategies.dp_fed_opt
from privacy import SecureGaussian
from privacy.noise.seeded import SeededGaussian
from strategies import DPFedOpt
from tests.audit.faults.planting import fault
from tests.audit.stage import COHORT


class FaultyNoise:
    """Noise of which `change(block, begin, sums, bounds)` spoils each block, at `scale` times the noise."""

    def __init__(self, inner, change=None, scale=1.0):
        self.inner, self.change, self.scale = inner, change, scale

    def accounting(self, plan):
        return self.inner.accounting(plan)  # a lie, which no declaration can show

    def noised_blocks(self, sums, bounds, quantiser, noise_multiplier, source):
        plain = sums.long().numpy().copy()
        for begin, end, block in self.inner.noised_blocks(
            sums, bounds, quantiser, self.scale * noise_multiplier, source
        ):
            if self.change:
                self.change(block, plain[begin:end], begin, bounds)
            yield begin, end, block


def noise(patch, **how) -> None:
    make = strategies.dp_fed_opt.make_noise
    patch.setattr(strategies.dp_fed_opt, "make_noise", lambda *args: FaultyNoise(make(*args), **how))


@fault("no noise on some tensors", "noise", recorded=None)
def _(patch):
    def change(block, plain, begin, bounds):
        block[: bounds.offsets[1]] = plain[: bounds.offsets[1]]

    noise(patch, change=change)


@fault("no noise on the clip's bits", "noise", recorded=None)
def _(patch):
    def change(block, plain, begin, bounds):
        block[bounds.indicators_part] = plain[bounds.indicators_part]

    noise(patch, change=change)


@fault("noise over n", "noise", recorded=None)
def _(patch):
    noise(patch, scale=1 / COHORT)


def source(patch, seed) -> None:
    """Noise from the secure source's own class, of a stream that repeats."""

    class Repeating(SecureGaussian):
        def __init__(self, number):
            super().__init__()
            self.seed = seed(number)

        def add_rounded_(self, sums, std_steps):
            values = np.random.default_rng(self.seed).normal(0, std_steps, sums.size)
            sums += np.rint(values).astype(np.int64)

    patch.setattr(DPFedOpt, "_source", lambda self, number: Repeating(number))


@fault("noise from a seed", "source", recorded=None)
def _(patch):
    patch.setattr(DPFedOpt, "_source", lambda self, number: SeededGaussian(7, number))


def _one_seed_for_a_run(patch):
    secret = int.from_bytes(os.urandom(8))
    source(patch, lambda number: secret)


def _a_seed_of_the_config(patch):
    source(patch, lambda number: number)


REPEATING = {
    "the same noise in each round": (_one_seed_for_a_run, 1),
    "a restart repeats the stream": (_a_seed_of_the_config, 2),
}
"""Of each the fault, and in how many runs it shows."""
