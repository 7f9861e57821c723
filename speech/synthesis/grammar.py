"""The sentences of the embedded corpus: a closed grammar of about 90 words, with texts of our own.

They are commands of voice assistants, questions, names, days and strings of digits.

Guarantee: whether a sentence is held out for the test split depends on the sentence alone (`is_held_out`), so
no split shares a sentence with it, for any seed.
"""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
HELD_OUT_SHARE = 0.15

_SLOTS: dict[str, tuple[str, ...]] = {
    "digit": DIGITS,
    "hour": DIGITS[1:],
    "switch": ("on", "off"),
    "device": ("light", "fan", "heater", "radio", "lamp"),
    "move": ("open", "close", "lock"),
    "thing": ("door", "window", "gate"),
    "room": ("kitchen", "bedroom", "garden", "office", "hall"),
    "name": ("anna", "ben", "carol", "emma", "frank", "maria", "peter", "tom"),
    "day": ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    "when": ("today", "tomorrow", "tonight"),
    "city": ("london", "paris", "rome", "berlin", "madrid"),
    "amount": ("ten", "twenty", "thirty", "forty", "fifty"),
    "unit": ("minutes", "hours"),
    "music": ("jazz", "rock", "piano"),
    "item": ("milk", "bread", "apples", "coffee"),
}


@dataclass(frozen=True, kw_only=True)
class Template:
    """A sentence with {slots}, and its weight in the draw.

    Example:
        >>> list(Template(text="turn {switch} the radio").sentences())
        ['turn on the radio', 'turn off the radio']
    """

    text: str
    weight: float = 1.0

    def sentences(self) -> Iterator[str]:
        """Yield every sentence of this template without the same word in two slots; digits may repeat."""
        words = self.text.split()
        slots = [word[1:-1] for word in words if word.startswith("{")]
        pattern = " ".join("{}" if word.startswith("{") else word for word in words)
        for filled in itertools.product(*(_SLOTS[slot] for slot in slots)):
            if len(set(filled)) == len(filled) or set(slots) == {"digit"}:
                yield pattern.format(*filled)


TEMPLATES = (
    Template(text="turn {switch} the {device} in the {room}", weight=1.5),
    Template(text="turn the {device} {switch}", weight=0.7),
    Template(text="{move} the {thing} of the {room}"),
    Template(text="call {name} {when}"),
    Template(text="send a message to {name}", weight=0.4),
    Template(text="meet {name} in {city} on {day}", weight=1.5),
    Template(text="what is the weather in {city} {when}"),
    Template(text="play some {music} for {name}"),
    Template(text="set a timer for {amount} {unit}", weight=0.7),
    Template(text="wake me at {hour} on {day}"),
    Template(text="buy {amount} {item} for {name}", weight=1.3),
    Template(text="how far is {city} from {city}"),
    Template(text="{digit} {digit} {digit}", weight=1.0),
    Template(text="{digit} {digit} {digit} {digit}", weight=1.8),
    Template(text="my number is {digit} {digit} {digit}"),
    Template(text="did {name} call {name} on {day}"),
)


def is_held_out(sentence: str) -> bool:
    """Return whether a sentence is for the test split only, by a hash of its words."""
    value = int.from_bytes(hashlib.sha256(sentence.encode()).digest()[:8])
    return value < HELD_OUT_SHARE * 2**64


class SentenceDrawer:
    """Draws distinct sentences, either held-out ones only or none of them.

    It draws a template by weight, and then one of its sentences uniformly, so that long templates with many
    sentences do not dominate short ones.

    Example:
        >>> texts = SentenceDrawer(held_out=True).draw(5, np.random.default_rng(0))
        >>> len(set(texts)), all(map(is_held_out, texts))
        (5, True)
    """

    def __init__(self, *, held_out: bool) -> None:
        self._choices = _sentences_by_template(held_out)
        weights = np.array([template.weight for template in TEMPLATES])
        weights[[not group for group in self._choices]] = 0.0
        self._weights = weights / weights.sum()

    def draw(self, count: int, random: np.random.Generator) -> list[str]:
        """Draw `count` different sentences.

        Raises:
            ValueError: If there are not enough.
        """
        available = sum(len(group) for group in self._choices)
        if not 0 < count <= available // 2:
            raise ValueError(f"count={count}: 1 to {available // 2} sentences can be drawn.")
        drawn: dict[str, None] = {}
        while len(drawn) < count:
            group = self._choices[random.choice(len(self._choices), p=self._weights)]
            drawn[group[random.integers(len(group))]] = None
        return list(drawn)


@cache
def _sentences_by_template(held_out: bool) -> list[tuple[str, ...]]:
    """Return the sentences of each template that are held out, or that are not."""
    return [tuple(s for s in template.sentences() if is_held_out(s) == held_out) for template in TEMPLATES]


def vocabulary() -> frozenset[str]:
    """Return every word that a sentence can have."""
    fixed = {word for t in TEMPLATES for word in t.text.split() if not word.startswith("{")}
    return frozenset(fixed.union(*_SLOTS.values()))
