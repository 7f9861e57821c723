"""The splits of a synthetic corpus: numbers of speakers and utterances, and their domain."""

from dataclasses import dataclass

from speech.synthesis.voices import HARD, MILD, Domain

DEFAULT_SEED = 2310


@dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """One split; with `held_out` it has only sentences that no other split has.

    Raises:
        ValueError: For a split without speakers or utterances.

    Example:
        >>> sum(plan.speakers for plan in EMBEDDED_PLAN)
        154
    """

    name: str
    domain: Domain
    speakers: int
    utterances: int
    held_out: bool = False

    def __post_init__(self) -> None:
        if self.speakers < 1 or self.utterances < 1:
            raise ValueError(
                f"split {self.name!r}: speakers={self.speakers} and utterances={self.utterances} "
                "must be >= 1."
            )


EMBEDDED_PLAN = (
    SplitPlan(name="seed", domain=MILD, speakers=32, utterances=30),
    SplitPlan(name="seed-test", domain=MILD, speakers=6, utterances=12),
    SplitPlan(name="train", domain=HARD, speakers=96, utterances=20),
    SplitPlan(name="test", domain=HARD, speakers=20, utterances=12, held_out=True),
)
