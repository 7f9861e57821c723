"""The recordings on a page: those of the worst utterances that `murmur evaluate --sound` put into its file.

Guarantee: a page has the sound of an utterance only where it quotes it, so a public one only with
--corpus-may-be-published; and at most `MOST_CHARACTERS` of sound, so that it stays below 5 MB.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from recipes import ConfigError

MOST_CHARACTERS = 3_000_000  # of base64, on a page: some ten minutes
OGG = "T2dnU"  # how base64 of an Ogg file begins
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


class Room:
    """What is left of a page's room for sound, and how many recordings had none."""

    def __init__(self, characters: int = MOST_CHARACTERS) -> None:
        self._left = characters
        self.left_out = 0

    def fitted(self, utterances: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The utterances, each with its sound if there is one and room for it.

        Raises:
            ConfigError: If a sound is not what `murmur evaluate --sound` writes.
        """
        return [{**one, "sound": self._fitted(one)} for one in utterances]

    def _fitted(self, utterance: Mapping[str, Any]) -> str:
        sound = utterance.get("sound", "")
        if not sound:
            return ""
        if not isinstance(sound, str) or not sound.startswith(OGG) or not _BASE64.fullmatch(sound):
            raise ConfigError(
                f"--evaluation: the sound of utterance {utterance.get('id')!r} is no Ogg file in base64; "
                "give a file that `murmur evaluate --run RUN --json --sound` wrote"
            )
        if len(sound) > self._left:
            self.left_out += 1
            return ""
        self._left -= len(sound)
        return sound
