"""Virtual speakers: each has one voice, one room, one noise and one microphone.

So a speaker is a domain, as a real person with a real device is.

Guarantee: a speaker depends on the seed number and its own name alone, and not on other speakers.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

_MALE = tuple(f"m{number}" for number in range(1, 9))
_FEMALE = tuple(f"f{number}" for number in range(1, 6))
# espeak-ng's named voices that sound human, without whispers, robots and croaks.
_NAMED = """
    Alex Andy Annie Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee Mario Michael Mike Nguyen Reed
    adam antonio aunty belinda benjamin boris caleb david ed edward edward2 grandma grandpa ian
    iven3 john linda marcelo max michel miguel mike2 pablo paul pedro quincy rob robert sandro
    shelby steph steph2 travis victor zac
"""
NOISES = ("white", "pink", "brown", "hum")


@dataclass(frozen=True, kw_only=True)
class Domain:
    """The ranges of a group of speakers; pairs are (low, high), with uniform draws.

    `warp` scales formants, pitch and tempo together (resampling): above 1 is higher and faster.

    Example:
        >>> HARD.snr_db, MILD.room_share
        ((8.0, 28.0), 0.0)
    """

    accents: tuple[str, ...]
    variants: tuple[str, ...]
    pitch: tuple[int, int]
    rate_words_per_minute: tuple[int, int]
    warp: tuple[float, float]
    tilt_db_per_octave: tuple[float, float]
    room_share: float
    room_seconds: tuple[float, float]
    noises: tuple[str, ...]
    snr_db: tuple[float, float]
    gain_db: tuple[float, float]


MILD = Domain(
    accents=("en-us", "en"),  # "en" is espeak-ng's file name for en-gb
    variants=_MALE + _FEMALE,
    pitch=(30, 70),
    rate_words_per_minute=(150, 195),
    warp=(0.97, 1.03),
    tilt_db_per_octave=(-0.7, 0.7),
    room_share=0.0,
    room_seconds=(0.1, 0.4),
    noises=("white", "pink"),
    snr_db=(18.0, 40.0),
    gain_db=(-3.0, 3.0),
)
HARD = Domain(
    accents=(
        "en-us",
        "en",
        "en-gb-scotland",
        "en-029",
        "en-gb-x-rp",
        "en-gb-x-gbclan",
        "en-us-nyc",
    ),
    variants=(*_MALE, *_FEMALE, *_NAMED.split()),
    pitch=(20, 85),
    rate_words_per_minute=(145, 215),
    warp=(0.88, 1.14),
    tilt_db_per_octave=(-3.0, 3.0),
    room_share=0.6,
    room_seconds=(0.1, 0.4),
    noises=NOISES,
    snr_db=(8.0, 28.0),
    gain_db=(-9.0, 6.0),
)


@dataclass(frozen=True, kw_only=True)
class VirtualSpeaker:
    """A drawn speaker. `room_seconds` is the reverberation time (RT60), 0 for no room.

    Example:
        >>> speaker = VirtualSpeaker.draw("train-000", HARD, generator(2310, "train-000", "voice"))
        >>> speaker.name, speaker.accent in HARD.accents
        ('train-000', True)
    """

    name: str
    accent: str
    variant: str
    pitch: int
    rate_words_per_minute: int
    warp: float
    tilt_db_per_octave: float
    room_seconds: float
    noise: str
    snr_db: float
    gain_db: float

    @property
    def voice(self) -> str:
        """espeak-ng's name of the voice."""
        return f"{self.accent}+{self.variant}"

    @classmethod
    def draw(cls, name: str, domain: Domain, random: np.random.Generator) -> "VirtualSpeaker":
        """Draw a speaker of the domain. Numbers are rounded, so that they are printed exactly."""

        def between(limits: tuple[float, float]) -> float:
            return round(float(random.uniform(*limits)), 2)

        return cls(
            name=name,
            accent=str(random.choice(domain.accents)),
            variant=str(random.choice(domain.variants)),
            pitch=int(random.integers(*domain.pitch, endpoint=True)),
            rate_words_per_minute=int(random.integers(*domain.rate_words_per_minute, endpoint=True)),
            warp=between(domain.warp),
            tilt_db_per_octave=between(domain.tilt_db_per_octave),
            room_seconds=between(domain.room_seconds) if random.random() < domain.room_share else 0.0,
            noise=str(random.choice(domain.noises)),
            snr_db=between(domain.snr_db),
            gain_db=between(domain.gain_db),
        )


def generator(seed: int, *key: str) -> np.random.Generator:
    """Return a generator that depends on the seed and the key alone, not on earlier draws."""
    if seed < 0:
        raise ValueError(f"seed={seed} must be >= 0.")
    digest = hashlib.sha256("\0".join(key).encode()).digest()
    words = np.frombuffer(digest, dtype="<u4").tolist()
    return np.random.default_rng(np.random.SeedSequence([seed, *words]))
