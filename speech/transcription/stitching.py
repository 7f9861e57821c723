"""Joins the log-probabilities of overlapping windows of continuous speech, at frames without a character.

The seam is in the longest run of frames, in the middle half of the overlap, in which neither window has a
character: so each word is whole on one side. If one of the windows has the space between two words, the
result has it too.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from speech.transcription.segmentation import runs


class Symbols(Protocol):
    """The outputs of a CTC model; an `Alphabet` is one.

    Example:
        >>> from speech.text import ENGLISH
        >>> ENGLISH.blank, ENGLISH.space
        (29, 26)
    """

    @property
    def blank(self) -> int:
        """The index of the blank."""

    @property
    def space(self) -> int | None:
        """The index of what stands between words; None if nothing does."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stretch:
    """Log-probabilities (T', outputs) of a recording, from frame `first_frame` on.

    If it is `joined`, it begins inside the stretch before it, and must be stitched to it.

    Example:
        >>> import torch
        >>> Stretch(first_frame=100, log_probs=torch.zeros(25, 30)).joined
        False
    """

    first_frame: int
    log_probs: Tensor
    joined: bool = False


def stitch(stretches: Iterable[Stretch], symbols: Symbols) -> Iterator[Stretch]:
    """Yield stretches without repeated frames: joined ones continue at the seam. One stretch is delayed."""
    held: Stretch | None = None
    for stretch in stretches:
        if held is not None and stretch.joined:
            shared = held.log_probs[stretch.first_frame - held.first_frame :]
            length = min(len(shared), len(stretch.log_probs))
            cut = seam(shared[:length], stretch.log_probs[:length], symbols)
            yield _part(held, 0, len(held.log_probs) - len(shared) + cut)
            held = _part(stretch, cut, len(stretch.log_probs))
            continue
        if held is not None:
            yield held
        held = stretch
    if held is not None:
        yield held


def seam(left: Tensor, right: Tensor, symbols: Symbols) -> int:
    """Return the frame c at which `left` ends and `right` continues: left[:c] and right[c:].

    Both are log-probabilities (T', outputs) of the same frames.
    """
    space, blank = symbols.space, symbols.blank
    margin = len(left) // 4
    best_of = [side[margin : len(side) - margin].argmax(-1).numpy() for side in (left, right)]
    quiet = [(best == blank) | (best == (blank if space is None else space)) for best in best_of]
    start, stop = max(
        runs(quiet[0] & quiet[1]), key=lambda run: run[1] - run[0], default=(0, len(best_of[0]))
    )
    middle = (start + stop) // 2
    if space is None:
        return margin + middle
    in_left, in_right = ((best[start:stop] == space).nonzero()[0] + start for best in best_of)
    if len(in_left):
        middle = max(middle, int(in_left[0]) + 1)
    elif len(in_right):
        middle = min(middle, int(in_right[-1]))
    return margin + middle


def _part(stretch: Stretch, start: int, stop: int) -> Stretch:
    return Stretch(first_frame=stretch.first_frame + start, log_probs=stretch.log_probs[start:stop])
