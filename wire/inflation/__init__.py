"""Bounds on the memory that a message from elsewhere can take, checked before it is taken.

Flower sends a message as objects that refer to each other by their SHA-256, and builds Python objects from
them in `inflate`. There an Array repeats its chunks as often as its own list of them: a message of a megabyte
can ask for terabytes. Flower bounds neither that, nor the number of objects, their size or their nesting.

Guarantee: what `inflate_within` builds holds at most `array_bytes` bytes of arrays, in at most `other_bytes`
bytes of other objects (as Python objects these take up to about thirty times as much), nested as Flower nests
them and no deeper. `InflationRefused` is raised before more is built. While a message is built, Flower holds
up to four times as much. The pulled bytes are counted as they arrive (`Meter`), and the length of each answer
of the SuperLink or SuperNode is checked before its body is read (`ResponseLimits`).

This package imports nothing else of this program, and itself by relative imports only. So the process that
starts Flower's ClientApp can load it under another name (`cli/approval/bounded_messages.py`): there, packages
with the app's names must not be imported before the app.
"""

from .allowance import NUMPY_HEADER, REFUSED, Allowance, InflationRefused
from .inflating import CHILDREN, inflate_within, require_within, without_content
from .pulling import Meter, ResponseLimits, object_ids, pull_within

__all__ = [
    "CHILDREN",
    "NUMPY_HEADER",
    "REFUSED",
    "Allowance",
    "InflationRefused",
    "Meter",
    "ResponseLimits",
    "inflate_within",
    "object_ids",
    "pull_within",
    "require_within",
    "without_content",
]
