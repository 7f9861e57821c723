"""Faults to plant: what libraries for differential privacy have been found to do, one function each.

Each replaces something at run time and names the violation that the suite must report.
"""

from tests.audit.faults import of_metadata, of_speakers, of_the_clip, of_the_noise, of_the_server
from tests.audit.faults.of_the_noise import REPEATING
from tests.audit.faults.planting import FAULTS

__all__ = [
    "FAULTS",
    "REPEATING",
    "of_metadata",
    "of_speakers",
    "of_the_clip",
    "of_the_noise",
    "of_the_server",
]
