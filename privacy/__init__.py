"""User-level differential privacy for federated learning: what is promised, and how it is kept.

Everything here works on flat vectors and numbers; nothing knows of speech, of models or of the network.
"""

from privacy.accounting import Epsilon, Release, epsilon, pld_epsilon, rdp_epsilon
from privacy.adaptive_clipping import QuantileClip, add_indicators_, unclipped_slices
from privacy.banded_matrix import BandChoice, compare_bands
from privacy.banded_noise import BandedNoise
from privacy.calibration import calibrate_noise_multiplier
from privacy.checked_sums import add_checked_, add_packed_
from privacy.clipping import CLIP_ACTIONS, CLIP_RULES, ClipBounds, clip_rule
from privacy.cohort import draw_cohort
from privacy.display import epsilon_text
from privacy.errors import (
    BudgetExhausted,
    LedgerCorrupt,
    LedgerInUse,
    PrivacyError,
    ReplyRejected,
    SpendingUnknown,
)
from privacy.grid import Grid, accumulator_dtype
from privacy.grid_clipping import add_clipped_
from privacy.layout import LayerLayout
from privacy.ledger import Ledger, LedgerEntry, ledger_releases, read_ledger
from privacy.lineage import Ancestor, Lineage
from privacy.mechanisms import make_noise
from privacy.noise import NoiseSource, SecureGaussian
from privacy.noise_shape import NOISE_SHAPES, joint_multiplier, noise_shape, relative_stds
from privacy.packing import pack, packed_bytes, unpack
from privacy.plan import PrivacyPlan
from privacy.round_noise import IndependentNoise, RoundNoise
from privacy.sampling import poisson_sample

__all__ = [
    "CLIP_ACTIONS",
    "CLIP_RULES",
    "NOISE_SHAPES",
    "Ancestor",
    "BandChoice",
    "BandedNoise",
    "BudgetExhausted",
    "ClipBounds",
    "Epsilon",
    "Grid",
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
    "Release",
    "ReplyRejected",
    "RoundNoise",
    "SecureGaussian",
    "SpendingUnknown",
    "accumulator_dtype",
    "add_checked_",
    "add_clipped_",
    "add_indicators_",
    "add_packed_",
    "calibrate_noise_multiplier",
    "clip_rule",
    "compare_bands",
    "draw_cohort",
    "epsilon",
    "epsilon_text",
    "joint_multiplier",
    "ledger_releases",
    "make_noise",
    "noise_shape",
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
