"""Faults to plant: what libraries for differential privacy have been found to do, one function each.

Each replaces something at run time and names what the suite must say of it.
"""

from tests.audit.faults import of_people, of_the_clip, of_the_noise, of_the_server, of_what_is_told
from tests.audit.faults.of_the_noise import REPEATING
from tests.audit.faults.planting import FAULTS

__all__ = [
    "FAULTS",
    "REPEATING",
    "of_people",
    "of_the_clip",
    "of_the_noise",
    "of_the_server",
    "of_what_is_told",
]
