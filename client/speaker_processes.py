"""The speaker processes that a ClientApp keeps from one message to the next, and what it must forget.

Guarantee: after `forget_departed`, no memory and no feature file that this process knows of holds speech of a
speaker who has left.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from pathlib import Path

from client.corpora import corpus_of, feature_folder
from client.learner import Learner
from client.state.departures import Departures
from client.training.process import SpeakerProcess
from client.training.process_loop import SpeakerBudget
from privacy import LayerLayout
from privacy.group_statistics import most_statistics
from speech.corpora.corpus import Corpus
from speech.data.feature_cache import remove

MOST_PROCESSES = 2  # for different speech or training

_PROCESSES: OrderedDict[Learner, tuple[LayerLayout, SpeakerProcess]] = OrderedDict()
_FORGOTTEN: set[tuple[Path | None, str]] = set()


def process_of(learner: Learner) -> tuple[LayerLayout, SpeakerProcess]:
    """The process for all nodes with this learner; the least recently used one ends if there are too many."""
    if learner not in _PROCESSES:
        while len(_PROCESSES) >= MOST_PROCESSES:
            _PROCESSES.popitem(last=False)[1][1].close()
        _PROCESSES[learner] = _started(learner)
    _PROCESSES.move_to_end(learner)
    return _PROCESSES[learner]


def is_kept(process: SpeakerProcess) -> bool:
    """Whether this process is one of those for later messages."""
    return any(kept is process for _, kept in _PROCESSES.values())


def _started(learner: Learner) -> tuple[LayerLayout, SpeakerProcess]:
    layout, local = learner.layout(), learner.local
    behind = most_statistics(layout) + len(layout)  # a bit of every layer, for bounds that adapt
    budget = SpeakerBudget(processor_seconds=local.processor_seconds, memory_megabytes=local.memory_megabytes)
    return layout, SpeakerProcess(
        learner.training, size=layout.size, room=layout.size + behind, budget=budget
    )


def forget_departed(departures: Departures, corpus: Corpus, learner: Learner) -> None:
    """Drop what this process, and the speaker processes, keep of speakers who left since the last call.

    A training that was under way when its speaker left may have written features after the command removed
    them.
    """
    folder = feature_folder(learner.corpus, learner.feature_cache)
    fresh = [one.speaker for one in departures.entries if (folder, one.speaker) not in _FORGOTTEN]
    for _, process in _PROCESSES.values() if fresh else ():
        process.close()  # first: it could write features anew
    if folder is not None:
        for speaker, split in itertools.product(fresh, corpus.splits):
            if corpus.has_speaker(split, speaker):
                remove(folder, corpus.utterances(split, speaker))
    _FORGOTTEN.update((folder, speaker) for speaker in fresh)


def forget() -> None:
    """End all processes and drop all corpora: the next node starts from nothing."""
    while _PROCESSES:
        _PROCESSES.popitem()[1][1].close()
    corpus_of.cache_clear()
    _FORGOTTEN.clear()
