"""Log-probabilities of windows of unbroken speech, joined where nobody hears a character.

A seam is put into the longest stretch, in the middle half of what two windows share, where neither
hears a character: there each word lies wholly on one side. Where either window hears the space
between two words, so does what is joined.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from speech.text import Alphabet
from speech.transcription.segmentation import runs


@dataclass(frozen=True, kw_only=True, eq=False)
class Stretch:
    """Log-probabilities (T', outputs) of a recording from its frame number `first_frame` on.

    `joined`: it begins inside the stretch before it, and is to be stitched to it.
    """

    first_frame: int
    log_probs: Tensor
    joined: bool = False


def stitch(stretches: Iterable[Stretch], alphabet: Alphabet) -> Iterator[Stretch]:
    """No frame twice: of those that are joined, each goes on at the seam. One stretch is held back."""
    held: Stretch | None = None
    for stretch in stretches:
        if held is not None and stretch.joined:
            shared = held.log_probs[stretch.first_frame - held.first_frame :]
            length = min(len(shared), len(stretch.log_probs))
            cut = seam(shared[:length], stretch.log_probs[:length], alphabet)
            yield _part(held, 0, len(held.log_probs) - len(shared) + cut)
            held = _part(stretch, cut, len(stretch.log_probs))
            continue
        if held is not None:
            yield held
        held = stretch
    if held is not None:
        yield held


def seam(left: Tensor, right: Tensor, alphabet: Alphabet) -> int:
    """Where to go over from `left` to `right`, both log-probabilities (T', outputs) of the same frames.

    The result c means left[:c] and right[c:].
    """
    space = alphabet.characters.index(" ")
    margin = len(left) // 4
    heard = [side[margin : len(side) - margin].argmax(-1).numpy() for side in (left, right)]
    quiet = [(best == space) | (best == alphabet.blank) for best in heard]
    start, stop = max(runs(quiet[0] & quiet[1]), key=lambda run: run[1] - run[0], default=(0, len(heard[0])))
    middle = (start + stop) // 2
    in_left, in_right = ((best[start:stop] == space).nonzero()[0] + start for best in heard)
    if len(in_left):
        middle = max(middle, int(in_left[0]) + 1)
    elif len(in_right):
        middle = min(middle, int(in_right[-1]))
    return margin + middle


def _part(stretch: Stretch, start: int, stop: int) -> Stretch:
    return Stretch(first_frame=stretch.first_frame + start, log_probs=stretch.log_probs[start:stop])
