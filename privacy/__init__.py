"""User-level differential privacy for federated learning: the guarantee, and the code that keeps it.

Everything here works on flat vectors and numbers. Nothing depends on speech, models or the network.
"""

from privacy.accounting.calibration import calibrate_noise_multiplier
from privacy.accounting.epsilon import Epsilon, Release, epsilon, pld_epsilon, rdp_epsilon
from privacy.clipping.adaptive import QuantileClip, add_indicators_, unclipped_slices
from privacy.clipping.bounds import CLIP_ACTIONS, ClipBounds
from privacy.clipping.quantisation import Quantiser, accumulator_dtype
from privacy.clipping.quantised_clipping import add_clipped_
from privacy.display import epsilon_text
from privacy.errors import (
    BudgetExhausted,
    LedgerCorrupt,
    LedgerInUse,
    PrivacyError,
    ReplyRejected,
    SpendingUnknown,
    UnaccountedMechanism,
)
from privacy.layout import LayerLayout
from privacy.ledger.entries import LedgerEntry, ledger_releases, read_ledger
from privacy.ledger.ledger import Ledger
from privacy.ledger.lineage import Ancestor, Lineage
from privacy.noise.banded import BandedNoise
from privacy.noise.banded_matrix import BandChoice, compare_bands
from privacy.noise.factory import charge_of, make_noise
from privacy.noise.independent import IndependentNoise, RoundNoise
from privacy.noise.secure import NoiseSource, SecureGaussian
from privacy.noise.shape import joint_multiplier, relative_stds
from privacy.plan import PrivacyPlan
from privacy.sampling import draw_cohort, poisson_sample
from privacy.sums.checked_sums import add_checked_, add_packed_
from privacy.sums.packing import pack, packed_bytes, unpack

__all__ = [
    "CLIP_ACTIONS",
    "Ancestor",
    "BandChoice",
    "BandedNoise",
    "BudgetExhausted",
    "ClipBounds",
    "Epsilon",
    "IndependentNoise",
    "LayerLayout",
    "Ledger",
    "LedgerCorrupt",
    "LedgerEntry",
    "LedgerInUse",
    "Lineage",
    "NoiseSource",
    "PrivacyError",
    "PrivacyPlan",
    "QuantileClip",
    "Quantiser",
    "Release",
    "ReplyRejected",
    "RoundNoise",
    "SecureGaussian",
    "SpendingUnknown",
    "UnaccountedMechanism",
    "accumulator_dtype",
    "add_checked_",
    "add_clipped_",
    "add_indicators_",
    "add_packed_",
    "calibrate_noise_multiplier",
    "charge_of",
    "compare_bands",
    "draw_cohort",
    "epsilon",
    "epsilon_text",
    "joint_multiplier",
    "ledger_releases",
    "make_noise",
    "pack",
    "packed_bytes",
    "pld_epsilon",
    "poisson_sample",
    "rdp_epsilon",
    "read_ledger",
    "relative_stds",
    "unclipped_slices",
    "unpack",
]
