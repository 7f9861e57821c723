"""What a node says of itself at the roll call: how many speakers it holds, and of which speech they are."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from flwr.app import ConfigRecord, RecordDict

from strategies.protocol import VERSION

MOST_SPEAKERS = 100_000_000  # of one node; drawing a cohort takes time with the population
MOST_CHARACTERS = 200  # of a name


@dataclass(frozen=True, kw_only=True)
class Holding:
    """`speakers` people: part `part` (from 0) of `parts` of a split of the corpus with the digest `dataset`.

    `skipped` utterances of that corpus cannot be used.
    """

    speakers: int
    dataset: str
    split: str
    part: int = 0
    parts: int = 1
    skipped: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.speakers, int) or not 1 <= self.speakers <= MOST_SPEAKERS:
            raise ValueError(
                f"it says that it holds {self.speakers!r} speakers, expected is 1 to {MOST_SPEAKERS:,}: "
                "`murmur doctor` there tells more"
            )
        for what, name in (("data set", self.dataset), ("split", self.split)):
            if not isinstance(name, str) or len(name) > MOST_CHARACTERS:
                raise ValueError(
                    f"it names its {what} {name!r}, expected are at most {MOST_CHARACTERS} characters"
                )
        if not isinstance(self.skipped, int) or self.skipped < 0:
            raise ValueError(f"it says that it skipped {self.skipped!r} utterances")
        if not (isinstance(self.part, int) and isinstance(self.parts, int) and 0 <= self.part < self.parts):
            raise ValueError(f"it says that it holds part {self.part!r} of {self.parts!r} (counted from 0)")

    @classmethod
    def of(cls, answer: ConfigRecord) -> Holding:
        """Read an answer. Raises `ValueError` with what it is, if it is none."""
        return cls(**{name: answer.get(name) for name in cls.__dataclass_fields__})

    def to_record(self) -> RecordDict:
        """The answer to the roll call."""
        return RecordDict({"answer": ConfigRecord({"version": VERSION, **asdict(self)})})

    @property
    def speech(self) -> tuple[str, str]:
        """What is shared by the nodes that hold parts of one whole."""
        return self.dataset, self.split
