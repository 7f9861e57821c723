"""Speakers and splits: random seed speakers, speakers in two splits, shuffled speakers.

Guarantee: every draw is a hash of a seed and a name, so it is the same on any machine and in any order.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction

from base.counts import count_of
from speech.corpora.corpus import Corpus, Skipped, Utterance
from speech.errors import CorpusError


def shared_speakers(corpus: Corpus, splits: Iterable[str] | None = None) -> dict[str, tuple[str, ...]]:
    """Return the speakers in more than one of the splits (by default, of all), with those splits."""
    chosen = corpus.splits if splits is None else tuple(dict.fromkeys(splits))
    # A speaker in two splits is in one that is not the largest, so the largest is not searched.
    largest = max(chosen, key=lambda split: len(corpus.speakers(split)), default=None)
    smaller = (split for split in chosen if split != largest)
    speakers = dict.fromkeys(speaker for split in smaller for speaker in corpus.speakers(split))
    splits_of = {
        speaker: tuple(split for split in chosen if corpus.has_speaker(split, speaker))
        for speaker in speakers
    }
    return {speaker: found for speaker, found in splits_of.items() if len(found) > 1}


def require_disjoint(corpus: Corpus) -> None:
    """Refuse a corpus with speakers in two splits.

    Raises:
        CorpusError: If there is any, naming one and the splits.
    """
    shared = shared_speakers(corpus)
    if shared:
        speaker, splits = next(iter(shared.items()))
        raise CorpusError(
            f"{corpus.name}: {count_of(len(shared), 'speaker')} in more than one split, the first "
            f"{speaker!r} in {' and '.join(repr(split) for split in splits)}: error rates on them "
            "do not hold for new speakers. Give each speaker one split, or set corpus.shared-speakers = true."
        )


def require_one_for_each_node(corpus: Corpus, split: str, nodes: int) -> None:
    """Refuse a split with fewer speakers than nodes.

    Raises:
        CorpusError: If a node would have no speaker.
    """
    speakers = len(corpus.speakers(split))
    if speakers < nodes:
        raise CorpusError(
            f"corpus {corpus.name} has {count_of(speakers, 'speaker')} in split {split!r}, fewer "
            f"than the {nodes} nodes of the federation: use at most {count_of(speakers, 'node')}"
        )


def draw_split(corpus: Corpus, *, split: str, share: float, into: str, seed: int = 0) -> Corpus:
    """Move a `share` of the speakers of `split`, with all their speech, into the new split `into`.

    It moves floor(share * speakers) of them, as in the paper's Table 2 (3,475 of 34,753; App. D.6).

    Raises:
        CorpusError: For a share that moves no speaker or all of them, or a split `into` that exists.
    """
    if into in corpus.splits:
        raise CorpusError(f"{corpus.name}: split {into!r} exists; choose another name.")
    speakers = sorted(corpus.speakers(split), key=lambda speaker: _draw(seed, speaker))
    count = int(Fraction(str(share)) * len(speakers))  # as written: 0.29 of 100 is 29, not 28.999
    if not 0 < count < len(speakers):
        raise CorpusError(
            f"share {share:g} of the {len(speakers)} speakers of split {split!r} is {count}: "
            "a share must move a speaker, and leave one."
        )
    moved = set(speakers[:count])

    def relabel(utterance: Utterance) -> Utterance:
        drawn = utterance.split == split and utterance.speaker in moved
        return replace(utterance, split=into) if drawn else utterance

    def relabel_skipped(left_out: Skipped) -> Skipped:
        drawn = left_out.split == split and left_out.speaker in moved
        return replace(left_out, split=into) if drawn else left_out

    return _relabelled(corpus, relabel, relabel_skipped)


def pool_splits(corpus: Corpus, into: str) -> Corpus:
    """Make all splits one, named `into`: every speaker is in it once, with all utterances."""
    return _relabelled(
        corpus,
        lambda utterance: replace(utterance, split=into),
        lambda left_out: replace(left_out, split=into),
    )


def shuffle_speakers(corpus: Corpus, *, split: str, seed: int = 0) -> Corpus:
    """Give each utterance of `split` a speaker drawn uniformly from those of the split (paper, section 3).

    Speakers that no utterance draws disappear. The real speaker of an utterance is lost: a privacy guarantee
    for these speakers does not hold for the persons who spoke.
    """
    speakers = corpus.speakers(split)

    def relabel(utterance: Utterance) -> Utterance:
        if utterance.split != split:
            return utterance
        return replace(utterance, speaker=speakers[_draw(seed, utterance.id) % len(speakers)])

    return _relabelled(corpus, relabel, lambda left_out: left_out)


def _relabelled(
    corpus: Corpus, relabel: Callable[[Utterance], Utterance], relabel_skipped: Callable[[Skipped], Skipped]
) -> Corpus:
    return Corpus.of(
        corpus.name,
        map(relabel, corpus.all_utterances()),
        map(relabel_skipped, corpus.skipped),
        alphabet=corpus.alphabet,
        mapped=map(relabel_skipped, corpus.mapped),
    )


def _draw(seed: int, name: str) -> int:
    """Return a pseudorandom number below 2^256, the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest())
