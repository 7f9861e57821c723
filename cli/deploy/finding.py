"""What a check of `murmur doctor` found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One part, whether it is in order (a warning: still), and in words what is wrong and what to do.

    Example:
        >>> Finding("disk /state", True, "8.0 GiB free").line
        'ok     disk /state: 8.0 GiB free'
    """

    part: str
    good: bool
    words: str
    warning: bool = False

    @property
    def line(self) -> str:
        """The finding as it is printed."""
        verdict = "FAULT" if not self.good else "WARN " if self.warning else "ok   "
        return f"{verdict}  {self.part}: {self.words}"
