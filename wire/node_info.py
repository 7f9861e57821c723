"""A node's own description at registration: its number of speakers, and the data that they belong to."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields

from flwr.app import ConfigRecord, RecordDict

from wire.messages import VERSION
from wire.pseudonyms import TOKEN_BYTES, split_tokens
from wire.records import whole_number

MOST_SPEAKERS = 100_000_000  # of one node; the time to draw a cohort grows with the population
MOST_TOKENS = 100_000  # of one node: 1.6 MB
MOST_CHARACTERS = 200  # of a name


@dataclass(frozen=True, kw_only=True)
class NodeInfo:
    """The description of a node.

    Args:
        speakers: The number of its speakers.
        dataset: Digest of the corpus.
        split: The split of the corpus from which the speakers are.
        part: Which part of the split the node holds, from 0.
        parts: The number of parts of the split.
        skipped: Utterances of the corpus that cannot be used.
        synthetic: Whether the speakers are not real persons.
        left: How many of the speakers have left since the resumed run began: they count as zero.
        namespace: Fingerprint of the key of the tokens (`wire.pseudonyms`).
        tokens: Pseudonyms of the speakers, one after the other; none for synthetic speakers, for those who
            have left, or for more than `MOST_TOKENS` speakers.

    Raises:
        ValueError: For a value out of range, or two speakers with the same token.

    Example:
        >>> NodeInfo(speakers=3, dataset="digest", split="train").speech
        ('digest', 'train')
    """

    speakers: int
    dataset: str
    split: str
    part: int = 0
    parts: int = 1
    skipped: int = 0
    synthetic: bool = False
    left: int = 0
    namespace: str = ""
    tokens: bytes = b""

    def __post_init__(self) -> None:
        for what in ("speakers", "part", "parts", "skipped", "left"):
            _require_short(what, getattr(self, what))
        if type(self.speakers) is not int or not 1 <= self.speakers <= MOST_SPEAKERS:
            raise ValueError(
                f"it states that it holds {self.speakers!r} speakers, expected is 1 to {MOST_SPEAKERS:,}: "
                "run `murmur doctor` there"
            )
        names = {"data set": self.dataset, "split": self.split, "namespace": self.namespace}
        for what, name in names.items():
            if not isinstance(name, str) or len(name) > MOST_CHARACTERS or not name.isprintable():
                raise ValueError(
                    f"it names its {what} {name!r}, expected are at most {MOST_CHARACTERS} characters that "
                    "can be printed"
                )
        if type(self.skipped) is not int or self.skipped < 0:
            raise ValueError(f"it states that it skipped {self.skipped!r} utterances")
        if type(self.left) is not int or not 0 <= self.left <= self.speakers:
            raise ValueError(f"it states that {self.left!r} of its {self.speakers} speakers have left")
        if not (type(self.part) is type(self.parts) is int and 0 <= self.part < self.parts):
            raise ValueError(f"it states that it holds part {self.part!r} of {self.parts!r} (counted from 0)")
        if not isinstance(self.synthetic, bool):
            raise ValueError(f"it states that its speakers are synthetic: {self.synthetic!r}")
        self._check_tokens()

    def _check_tokens(self) -> None:
        if not isinstance(self.tokens, bytes):
            raise ValueError(f"its speakers' tokens are {type(self.tokens).__name__}, expected are bytes")
        if not self.tokens:
            return
        present = self.speakers - self.left
        if len(self.tokens) != TOKEN_BYTES * min(present, MOST_TOKENS):
            raise ValueError(
                f"its tokens of {present} speakers have {len(self.tokens)} bytes, expected are "
                f"{TOKEN_BYTES} for each, and none of more than {MOST_TOKENS:,}"
            )
        if len(set(split_tokens(self.tokens))) != present:
            raise ValueError("it counts one speaker twice: two of its speakers have the same token")

    @classmethod
    def of(cls, answer: ConfigRecord) -> NodeInfo:
        """Read an answer.

        Raises:
            ValueError: With the faulty value, if the answer is not a valid description.
        """
        defaults = {field.name: None if field.default is MISSING else field.default for field in fields(cls)}
        return cls(**{name: answer.get(name, default) for name, default in defaults.items()})

    def to_record(self) -> RecordDict:
        """The content of the answer at registration."""
        return RecordDict({"answer": ConfigRecord({"version": VERSION, **asdict(self)})})

    @property
    def speech(self) -> tuple[str, str]:
        """Corpus and split, which all nodes with parts of one split share."""
        return self.dataset, self.split

    @property
    def portion(self) -> str:
        """Which part of its data set the node holds."""
        return portion_of(self.split, self.part, self.parts)


def portion_of(split: str, part: int, parts: int) -> str:
    """Name a part of a data set.

    Example:
        >>> portion_of("train", 0, 2)
        'train 0 2'
    """
    return f"{split} {part} {parts}"


def _require_short(what: str, value: object) -> None:
    """Refuse whole numbers beyond 64 bits before they are compared or printed."""
    if isinstance(value, int):
        try:
            whole_number(int(value))
        except ValueError as error:
            raise ValueError(f"the number for its {what} is not valid: {error}") from None
